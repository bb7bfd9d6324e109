"""The repository with a training that takes a second: the real src/train.py around a formula in the network's place.

Hand-over, run id, lock, checkpoints, bar, epoch lines and outputs are the real ones; the other stages are tiny.py's.
What a test may do to it, by environment: LIGHT_STEP (seconds a step takes), LIGHT_HOLD (a file: the last epoch waits
while it is there), LIGHT_HANG and LIGHT_FAIL (a file: the first training that finds it there takes it away and then
hangs, or fails, in its second epoch).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import miniature
import templates
import tiny
from ruamel.yaml import YAML

from plantdoc import params, runner_params
from plantdoc.ec2 import instance_types

EPOCHS, STEPS = 4, 5
OUTPUTS = ("models/detector", "results/train/live", "results/train/metrics.json")
FORMULA = f'''
def train(settings, made_from, preset, file, saved, tracker):
    """A formula that depends on data, lr and every step before."""
    import numpy as np
    from tqdm import tqdm

    def was_there(name):
        try:
            os.remove(os.environ[name])
        except (KeyError, FileNotFoundError):
            return False
        return True

    started = time.monotonic()
    data = b"".join(path.read_bytes() for path in sorted(Path(RECORDS).iterdir()))
    start = sum(data) / len(data) + (sum(file.read_bytes()) if file else 0)
    progress, arrays = saved.load() or (checkpoint.Progress(), {{"w": np.full(20_000, start + settings.lr)}})
    if progress.epochs:
        log.info("train: going on after epoch %d of %d", progress.epochs, settings.train.epochs)
    epochs = settings.train.epochs
    with tqdm(total=epochs * {STEPS}, initial=progress.epochs * {STEPS}, unit="step", mininterval=0.1) as bar:
        while progress.epochs < epochs:
            bar.set_description(f"epoch {{progress.epochs + 1}}/{{epochs}}")
            for step in range({STEPS}):
                arrays["w"] = np.sin(arrays["w"] * 3 + step)
                time.sleep(float(os.environ.get("LIGHT_STEP", 0.02)))
                _advance(bar, {{"box": 0.1}})
            while progress.epochs == epochs - 1 and Path(os.environ.get("LIGHT_HOLD", "/none")).exists():
                time.sleep(0.02)
            if progress.epochs == 1:
                while was_there("LIGHT_HANG"):
                    time.sleep(10_000)
                if was_there("LIGHT_FAIL"):
                    raise UserError("the loss is not finite in epoch 2: lower lr")
            progress.epochs += 1
            score = float(abs(arrays["w"]).mean())
            row = {{"box": 0.1, "class": 0.2, "lr": settings.lr, "val_map": score / 2, "val_map50": score}}
            best = None
            if progress.epochs in (1, 3):
                progress.best_epoch, best = progress.epochs, [arrays["w"]]
            progress.history.append(row)
            tracker.epoch(progress.epochs, row)
            saved.save(progress, arrays, best)
            bar.write(summary(progress), file=sys.stderr)
    with stage.replacing(MODEL) as target:
        (target / "detector.weights.h5").write_bytes(saved.best(progress.best_epoch)[0].tobytes())
        (target / "config.json").write_text(json.dumps({{"made_from": made_from}}, sort_keys=True))
    with stage.replacing(RESULTS / "live") as folder:
        for name in ("train/box", "train/class", "train/lr", "val/map", "val/map50"):
            place, key = name.split("/")
            path = folder / f"plots/metrics/{{name}}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [row["val_" * (place == "val") + key] for row in progress.history]
            path.write_text(f"step\\t{{key}}\\n" + "".join(f"{{i}}\\t{{value}}\\n" for i, value in enumerate(rows)))
    with stage.replacing(RESULTS / "metrics.json", folder=False) as path:
        last = progress.history[-1]
        path.write_text(json.dumps({{"val_map50": round(last["val_map50"], 6), "epochs": progress.epochs}}))
    cost.record("train", MODEL, minutes=(time.monotonic() - started) / 60)
    saved.remove()


'''


def make(folder: Path, bucket: str, **overrides: object) -> Path:
    """The repository with the DVC remote in `bucket`, committed; not yet run."""
    given = {"train__epochs": EPOCHS, "train__plain_epochs": 1, "runner__disk_gb": 80} | overrides
    tiny.make(folder, **given)
    real = (miniature.ROOT / "src/train.py").read_text(encoding="utf-8")
    text, count = re.subn(r"(?ms)^def train\(.*?(?=^def refuse_without_commit)", lambda _: FORMULA, real)
    text, configured = re.subn(r"(?m)^ +runtime\.configure\(.*\n", "", text)
    text, asked = re.subn(r"(?m)lineage\.gpu_trains\(\)$", "bool(cost.gpus())", text)  # no TensorFlow to ask
    assert (count, configured, asked) == (1, 1, 1), "src/train.py has changed its shape"
    (folder / "src/train.py").write_text(text, encoding="utf-8")

    yaml = YAML()
    yaml.width = 200
    pipeline = yaml.load(folder / "dvc.yaml")
    whole = yaml.load(miniature.ROOT / "dvc.yaml")
    pipeline["stages"]["train"]["deps"] = whole["stages"]["train"]["deps"]
    yaml.dump(pipeline, folder / "dvc.yaml")
    _set_bucket(folder, bucket)
    miniature.git(folder, "add", "-A")
    miniature.git(folder, "commit", "-q", "--amend", "-m", "light")
    return folder


def prepared(folder: Path, bucket: str, **overrides: object) -> Path:
    """The same after fetch and augment, their part of dvc.lock committed."""

    def build(new: Path) -> None:
        make(new, "none", **overrides)
        miniature.run(new, "dvc", "repro", "augment")
        miniature.git(new, "add", "-A")
        miniature.git(new, "commit", "-q", "-m", "data")

    content = hashlib.sha256(repr(sorted(overrides.items())).encode()).hexdigest()[:12]
    templates.copy(f"light-{content}", build, folder)
    _set_bucket(folder, bucket)
    miniature.git(folder, "commit", "-q", "-a", "-m", "bucket")
    return folder


def _set_bucket(folder: Path, bucket: str) -> None:
    (folder / ".dvc/config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    remote = storage\n"
        f"['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    verify = true\n"
    )


def copy(origin: Path, folder: Path, **overrides: object) -> Path:
    """A copy of a prepared repository with its cache, and other params."""
    shutil.copytree(origin, folder, symlinks=True)
    if overrides:
        miniature.set_params(folder, **overrides)
    return folder


def outputs(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the train stage's outputs."""
    found = {}
    for path in map(Path, OUTPUTS):
        whole = folder / path
        for file in [f for f in whole.rglob("*") if f.is_file()] if whole.is_dir() else [whole] * whole.exists():
            found[file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def expected(origin: Path, folder: Path, **overrides: object) -> dict[str, str]:
    """The outputs of a training here, on the kind of machine that runner.instance_types names; `folder` is for it."""
    copy(origin, folder, **overrides)
    programs = folder.with_name(f"{folder.name}-programs")
    programs.mkdir()
    gpu = instance_types.have_gpu(params.load(runner_params.Params, folder / "params.yaml").runner.instance_types)
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\n{'echo NVIDIA stand-in' if gpu else 'exit 9'}\n")
    (programs / "nvidia-smi").chmod(0o755)
    path = f"{programs}{os.pathsep}{miniature.environment()['PATH']}"
    miniature.run(folder, "python", "src/train.py", PLANTDOC_RUNNER="local", PATH=path)
    return outputs(folder)
