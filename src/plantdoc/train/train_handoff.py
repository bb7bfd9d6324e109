"""Hand a training over to EC2, and tell Weights & Biases of it afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from plantdoc.tracking import wandb_run
from plantdoc.train import train_results


def hand_over(model: str) -> None:
    """Have an instance on EC2 train; scripts/ec2.py brings the outputs, `model` among them, as if they were made here.

    It is a process of its own: where a model is trained is no part of what makes it, and so no dep of this stage.
    """
    process = subprocess.Popen([sys.executable, "scripts/ec2.py", "run"])
    # It decides what becomes of the instance, and hears of Ctrl-C itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if code := process.wait():
        sys.exit(code if code > 0 else 1)
    made_from = json.loads(Path(model, "config.json").read_text())["made_from"]
    with wandb_run.run("train", made_from) as tracker:
        for number, row in train_results.read_curves().items():
            tracker.epoch(number, row)
