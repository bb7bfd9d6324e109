"""Train the detector: `dvc repro train`, or `dvc exp run -S lr=0.2` for another learning rate.

Reads data/tfrecords, writes models/detector (weights and a config that rebuilds the model without params.yaml),
results/train/metrics.json (the best epoch's val mAP) and results/train/live (curves for `dvc plots show`).

Cost: the sample's 30 epochs take some minutes on 2 cores; the table in README.md has what was measured, with the scores
to expect. The weights kept are those of the epoch with the best val mAP. Killed at any moment, the same command resumes
after the last finished epoch and ends with the same bits. `.dvc/tmp/plantdoc/progress.json` says how far it is
(plantdoc.train.progress). With runner.kind = ec2 an instance on EC2 trains: see scripts/ec2.py.
"""

from __future__ import annotations

import time

from plantdoc.core import cost, environment, identity, params, processes, stage, workspace
from plantdoc.tracking import wandb_run
from plantdoc.train import (
    checkpoint,
    learner,
    lineage,
    loop,
    pretrained_weights,
    progress,
    train_checks,
    train_handoff,
    train_params,
    train_results,
)

MODEL = "models/detector"


def main() -> None:
    processes.end_on_terminate()
    settings = params.load(train_params.Params)
    train_checks.refuse_without_commit()
    train_checks.refuse_frozen_random_layers(settings)
    # The instance that trains for someone has the same params and must not hand over again.
    if settings.runner.kind != "local" and not environment.read().trains_for_another:
        train_handoff.hand_over(MODEL)
        return
    gpu = learner.start(settings)
    with pretrained_weights.located(settings.model.weights) as (preset, file):
        made_from = lineage.made_from("train", settings, file, gpu)
        run_id = identity.run_id(made_from)
        train_checks.refuse_other_run(run_id, gpu)
        folder = workspace.main_root() / ".dvc/tmp/plantdoc" / run_id
        with (
            processes.only_one(folder.with_suffix(".lock"), "this training"),
            progress.written(progress.TrainingProgress(run=run_id)) as shown,
            wandb_run.run("train", made_from) as tracker,
        ):
            model, saved = learner.Learner(settings, made_from, preset, file), checkpoint.Checkpoint(folder)
            train(loop.Loop(settings.train, model, saved, tracker, shown))


def train(loop: loop.Loop) -> None:
    """Run the epochs that are left and put the outputs in place."""
    started = time.monotonic()
    done = loop.run()
    with stage.replacing(MODEL) as target:
        loop.learner.save(loop.saved.best(done.best_epoch), target)
    train_results.write(done)
    minutes = (time.monotonic() - started) / 60
    pictures = (done.epochs - loop.first) * loop.learner.steps * loop.config.batch_size  # of the epochs that ran here
    cost.record("train", MODEL, minutes=minutes, pictures_per_second=pictures / minutes / 60)
    loop.saved.remove()


if __name__ == "__main__":
    stage.run(main)
