"""Help is read by people who wait for it: scripts load nothing heavy for `--help`, and `make` fits on a screen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("scripts/*.py"))]
# fmt: off
HEAVY = {
    "tensorflow", "keras", "keras_cv", "numpy", "scipy", "pandas", "matplotlib", "PIL", "pycocotools",
    "dvc", "dvclive", "wandb", "boto3", "botocore", "sagemaker", "fastapi", "uvicorn", "pytest",
}
# fmt: on


# It answers at once too where only a page is wanted of it.
WITHOUT_TENSORFLOW = {"scripts/serve.py": {"prometheus_client", "pydantic"}}


def test_there_are_scripts():
    assert "scripts/report.py" in PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_loads_nothing_heavy(program, tmp_path):
    # In another folder: help is for those too who are not in the repository's root.
    command = [sys.executable, "-X", "importtime", ROOT / program, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("usage: ")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in loaded  # else nothing was seen
    assert {name.partition(".")[0] for name in loaded} & (HEAVY | WITHOUT_TENSORFLOW.get(program, set())) == set()


@pytest.mark.parametrize("program", ["serve", "deploy", "sagemaker_smoke"])
def test_the_help_of_what_takes_a_bundle_says_that_it_is_code(program):
    text = (ROOT / f"scripts/{program}.py").read_text(encoding="utf-8")
    assert "description=__doc__" in text
    assert "code of whoever made it, model included: trust it like a program" in " ".join(text.split('"""')[1].split())


def test_make_alone_names_every_target_on_one_screen(tmp_path):
    command = ["make", "--no-print-directory", "-f", ROOT / "Makefile"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 100
    named = {
        word for line in re.findall(r"make ((?:[a-z0-9-]+, )*[a-z0-9-]+)", done.stdout) for word in line.split(", ")
    }
    targets = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert "repro" in targets
    assert not set(targets) - named - {"help"}, "HELP in the Makefile lacks these"
