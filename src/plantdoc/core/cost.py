"""results/cost.json: what the clock says. It is no stage output, so that it never enters dvc.lock."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import subprocess
from pathlib import Path

import psutil

from plantdoc.core import hashing, stage

PATH = Path("results/cost.json")
CPUINFO = Path("/proc/cpuinfo")


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
    """This machine, like `AMD EPYC 7R32, 8 cores, NVIDIA A10G`: models differ in bits between kinds of machine."""
    return ", ".join([_cpu(), f"{psutil.cpu_count()} cores", *gpus()])


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs that the driver has, none without one; infra/worker/bootstrap.sh asks alike."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _cpu() -> str:
    with contextlib.suppress(OSError):  # Linux has this file; on arm64 without a name in it
        if names := re.findall(r"model name\s*: (.+)", CPUINFO.read_text()):
            return names[0]
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # macOS has this program and this key
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()
    return platform.processor() or platform.machine()
