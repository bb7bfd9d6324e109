"""Train the detector: `dvc repro train`, or `dvc exp run -S lr=0.2` for another learning rate.

Reads data/tfrecords, writes models/detector (weights and a config that rebuilds the model without params.yaml),
results/train/metrics.json (the best epoch's val mAP) and results/train/live (curves for `dvc plots show`).

The weights kept are those of the epoch with the best val mAP. Killed at any moment, the same command goes on from the
last finished epoch and ends with the same bits. With runner.kind = ec2 a machine on EC2 does the work, see
scripts/ec2.py. What it costs and scores: the table in README.md.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from plantdoc import (
    checkpoint,
    cost,
    guard,
    hashing,
    lineage,
    params,
    runtime,
    stage,
    tracking,
    train_params,
    weights,
    workspace,
)
from plantdoc.errors import UserError

if TYPE_CHECKING:
    from plantdoc.trainer import Trainer

log = logging.getLogger("plantdoc")
RECORDS, MODEL, RESULTS = "data/tfrecords", "models/detector", Path("results/train")


def main() -> None:
    guard.end_on_terminate()
    settings = params.load(train_params.Params)
    refuse_without_commit()
    if settings.train.frozen and settings.model.weights == "none":
        raise UserError("train.frozen > 0 with model.weights = none would freeze random layers: set one of the two")
    # The machine that trains for someone has the same params and must not hand over again.
    if settings.runner.kind != "local" and os.environ.get("PLANTDOC_RUNNER") != "local":
        hand_over()
        return
    runtime.configure(settings.train.threads, settings.seed)
    gpu = lineage.gpu_trains()
    with weights.located(settings.model.weights) as (preset, file):
        made_from = lineage.made_from("train", settings, file, gpu)
        run_id = hashing.of_value(made_from)[:16]
        refuse_other_run(run_id, gpu)
        folder = workspace.main_root() / ".dvc/tmp/plantdoc" / run_id
        with (
            guard.only_one(folder.with_suffix(".lock"), "this very training"),
            tracking.run("train", made_from) as tracker,
        ):
            train(settings, made_from, preset, file, checkpoint.Checkpoint(folder), tracker)


def hand_over() -> None:
    """Have a machine on EC2 train; scripts/ec2.py brings the outputs into place as if they had been made here.

    A process of its own: where a model is trained is no part of what makes it, and so no dep of this stage. It also
    checks the section `runner`.
    """
    process = subprocess.Popen([sys.executable, "scripts/ec2.py", "run"])
    # It decides what becomes of the machine, and hears of Ctrl-C itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if code := process.wait():
        sys.exit(code if code > 0 else 1)
    made_from = json.loads(Path(MODEL, "config.json").read_text())["made_from"]
    with tracking.run("train", made_from) as tracker:
        for number, row in read_curves().items():
            tracker.epoch(number, row)


def train(
    settings: train_params.Params,
    made_from: dict,
    preset: str | None,
    file: Path | None,
    saved: checkpoint.Checkpoint,
    tracker: tracking.Tracker,
) -> None:
    """Train to the end, from the last finished epoch where there is one, and put the outputs in place."""
    import keras

    from plantdoc import detector, feed
    from plantdoc.schedule import WarmupCosine
    from plantdoc.trainer import Trainer

    config, started = settings.train, time.monotonic()
    meta = feed.meta(RECORDS)
    steps = feed.steps(meta, config.batch_size)
    strategy, precision = runtime.devices(config.precision)
    if config.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"train.batch_size = {config.batch_size} cannot be shared out evenly over the "
            f"{strategy.num_replicas_in_sync} GPUs here: choose a multiple"
        )
    if (half := int(config.half_size * config.epochs)) and meta.size % 64:
        raise UserError(f"train.half_size > 0 needs pictures whose half is a multiple of 32 px, not of {meta.size} px")
    rate = WarmupCosine(settings.lr, config.batch_size, config.warmup_epochs * steps, config.epochs * steps)

    progress, arrays = saved.load() or (checkpoint.Progress(), None)
    if first := progress.epochs:
        log.info("train: going on after epoch %d of %d", first, config.epochs)
    for size, until in ((meta.size // 2, half), (meta.size, config.epochs)):
        if progress.epochs >= until and size < meta.size:
            continue
        keras.utils.clear_session()  # layers' names stand in the weights file, and are counted
        with strategy.scope():
            form = detector.Config.of(settings.model, size, meta.classes, made_from)
            model = detector.Detector(form, preset, precision)
            if file and not arrays:
                weights.load(file, model.model, model.network.backbone)
        trainer = Trainer(model, config, rate, strategy)
        if arrays:
            trainer.restore(arrays)  # also those of the other size: no variable depends on it
        for _ in epochs(settings, trainer, progress, until, tracker):
            best = [v.numpy() for v in trainer.average] if progress.best_epoch == progress.epochs else None
            arrays = trainer.state()
            saved.save(progress, arrays, best)

    for variable, value in zip(model.model.variables, saved.best(progress.best_epoch), strict=True):
        variable.assign(value)
    with stage.replacing(MODEL) as target:
        detector.save(model, target)
    write_results(progress)
    minutes = (time.monotonic() - started) / 60
    # Of the epochs that ran here, if it went on from an earlier one.
    pictures = (progress.epochs - first) * steps * config.batch_size
    cost.record("train", MODEL, minutes=minutes, pictures_per_second=pictures / minutes / 60)
    saved.remove()


def epochs(
    settings: train_params.Params,
    trainer: Trainer,
    progress: checkpoint.Progress,
    until: int,
    tracker: tracking.Tracker,
) -> Iterator[None]:
    """Train up to epoch `until`, or to the end of patience; yields after each epoch, when `progress` tells of it."""
    from tqdm import tqdm

    from plantdoc import feed

    config, meta = settings.train, feed.meta(RECORDS)
    truth = feed.val_truth(RECORDS)
    steps, half = feed.steps(meta, config.batch_size), trainer.detector.config.image_size < meta.size
    quiet = 1 if sys.stderr.isatty() else 30
    with tqdm(total=until * steps, initial=progress.epochs * steps, unit="step", mininterval=quiet) as bar:
        while progress.epochs < until and not out_of_patience(progress, config.patience):
            epoch = progress.epochs
            bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
            mosaic = config.mosaic if epoch < config.epochs - config.plain_epochs else 0.0
            batches = feed.train(
                RECORDS,
                epoch,
                seed=settings.seed,
                batch_size=config.batch_size,
                flip=config.flip,
                mosaic=mosaic,
                half=half,
            )
            row = trainer.train_one_epoch(batches, lambda terms: _advance(bar, terms))
            progress.epochs += 1
            due = progress.epochs % config.validate_every == 0 or progress.epochs == config.epochs
            if due and not half:
                row |= {f"val_{name}": value for name, value in trainer.validate(feed.val(RECORDS, 16), truth).items()}
                if not progress.best_epoch or row["val_map"] > progress.history[progress.best_epoch - 1]["val_map"]:
                    progress.best_epoch = progress.epochs
            progress.history.append(row)
            tracker.epoch(progress.epochs, row)
            yield
            bar.write(summary(progress), file=sys.stderr)


def refuse_without_commit() -> None:
    """Stop where DVCLive would, but before the training and not after it: in a git repository with no commit."""
    asked = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True)
    if "safe.directory" in asked.stderr:  # the repository of another user: git says so, and what to do
        raise UserError(asked.stderr.strip())
    inside = asked.returncode == 0
    if inside and subprocess.run(["git", "rev-parse", "-q", "--verify", "HEAD"], capture_output=True).returncode:
        raise UserError("this git repository has no commit yet: make one, so that results can be told apart")


def refuse_other_run(run_id: str, gpu: bool) -> None:
    """Stop on a machine that would not train what it was started for: TensorFlow cannot use its GPU, for one."""
    wanted = os.environ.get("PLANTDOC_RUN_ID", run_id)
    if wanted != run_id:
        seen = "a GPU" if gpu else "no GPU"
        raise UserError(f"this machine was started for run {wanted} and would train {run_id}: TensorFlow sees {seen}")


def out_of_patience(progress: checkpoint.Progress, patience: int) -> bool:
    """Whether val mAP has not risen for `patience` epochs; 0 is endless patience."""
    return bool(patience and progress.best_epoch and progress.epochs - progress.best_epoch >= patience)


def summary(progress: checkpoint.Progress) -> str:
    """One line on the epoch just finished."""
    row = progress.history[-1]
    line = f"epoch {progress.epochs}: box {row['box']:.3f}, class {row['class']:.3f}"
    if "val_map" in row:
        line += f", val mAP {row['val_map']:.4f}, mAP@50 {row['val_map50']:.4f}"
    return line + (", the best so far" if progress.best_epoch == progress.epochs else "")


def write_results(progress: checkpoint.Progress) -> None:
    """The curves and the best epoch's figures; nothing in them comes from a clock."""
    from dvclive import Live

    with stage.replacing(RESULTS / "live") as folder:
        with Live(str(folder), dvcyaml=None, save_dvc_exp=False) as live:
            for row in progress.history:
                for name in ("box", "class", "lr"):
                    live.log_metric(f"train/{name}", row[name])
                for name in ("map", "map50"):
                    if f"val_{name}" in row:
                        live.log_metric(f"val/{name}", row[f"val_{name}"])
                live.next_step()
        (folder / "metrics.json").unlink()  # the last epoch's; metrics.json beside has those of the best
    best = progress.history[progress.best_epoch - 1]
    figures = {
        "val_map": round(best["val_map"], 6),
        "val_map50": round(best["val_map50"], 6),
        "best_epoch": progress.best_epoch,
        "epochs": progress.epochs,
    }
    with stage.replacing(RESULTS / "metrics.json", folder=False) as path:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def read_curves() -> dict[int, dict[str, float]]:
    """The rows that `write_results` has written, by epoch from 1."""
    rows: dict[int, dict[str, float]] = {}
    for path in sorted((RESULTS / "live/plots/metrics").glob("*/*.tsv")):
        name = f"val_{path.stem}" if path.parent.name == "val" else path.stem
        with open(path, newline="") as file:
            for line in csv.DictReader(file, delimiter="\t"):
                rows.setdefault(int(line["step"]) + 1, {})[name] = float(line[path.stem])
    return rows


def _advance(bar, terms: dict[str, float]) -> None:
    bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)
    bar.update()


if __name__ == "__main__":
    stage.run(main)
