"""results/cost.json: what the clock says. It is no stage output, so that it never enters dvc.lock."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from pathlib import Path

import psutil

from plantdoc import hashing, stage

PATH = Path("results/cost.json")


def record(name: str, output: str, **figures: float) -> None:
    """Merge a stage's figures into results/cost.json, with the hash of the output they belong to.

    The hash tells a reader whether the figures are of this output: after a run-cache hit they are of an earlier one.
    """
    costs = json.loads(PATH.read_text()) if PATH.exists() else {}
    costs[name] = {key: round(value, 3) for key, value in figures.items()}
    costs[name]["machine"] = machine()
    costs[name]["output"] = hashing.of_files([output], root=output if Path(output).is_dir() else Path(output).parent)
    with stage.replacing(PATH, folder=False) as path:
        path.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n")


def machine() -> str:
    """What ran here, like `AMD EPYC 7R32, 8 cores, NVIDIA A10G`: models differ in bits between kinds of machine."""
    cpus = re.findall(r"model name\s*: (.+)", _text("/proc/cpuinfo")) or [platform.processor() or platform.machine()]
    return ", ".join([cpus[0], f"{psutil.cpu_count()} cores", *_gpus()])


def _gpus() -> list[str]:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # no Linux
        return ""
