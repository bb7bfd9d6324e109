"""The Makefile takes options from its command line alone, and keeps other projects' settings from what it runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from import_graph import ROOT

from plantdoc.core import entry

TARGETS = sorted(set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)))
SWITCHES = re.search(r"^SWITCHES := (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def make(*words: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run make with nothing of an outer make's, taking .venv for made."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PIP_ONLY_BINARY", "PIP_USER", "UV_NO_CONFIG")
    clean = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=folder, env=clean | environment, capture_output=True, text=True)


# What need not be made.
INSTALLED = ("--old-file=.venv/installed/requirements.txt", "--old-file=.venv/container/stamp")


def shown(*words: str, **environment: str) -> str:
    """What `make -n` would run."""
    done = make("-n", *INSTALLED, *words, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("value", ["0", "no", "1", "yes", "", "plants"])
def test_what_a_shell_exports_is_no_option(value):
    """M1: WSL's NAME, YES=no, GPU=0 and all others leave every target's commands as they are."""
    names = re.search(r"^OPTIONS := (.*\n\t.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    exported = dict.fromkeys([*SWITCHES, *re.findall(r"[A-Z_]{2,}", names.replace("SWITCHES", ""))], value)
    assert {"YES", "FORCE", "REMOTE", "GPU", "NAME", "HOST", "SET", "KEEP", "PYTHON", "TESTS"} < exported.keys()
    targets = [target for target in TARGETS if target not in ("bench", "help")]
    assert shown(*targets, **exported) == shown(*targets)
    assert shown("-e", *targets, **exported) == shown(*targets)


def test_a_switch_is_on_off_or_refused_before_anything_runs():
    off = shown("gc", "aws-delete", "deploy", "setup")
    for word in ("0", "no", "false", "off", ""):
        switched = [f"{name}={word}" for name in SWITCHES if name != "REAPER"]
        assert shown("gc", "aws-delete", "deploy", "setup", *switched) == off
    for word in ("1", "yes", "true", "on"):
        on = shown("gc", "aws-delete", "deploy", f"YES={word}", f"FORCE={word}", f"REMOTE={word}")
        assert "cleanup.py --yes --remote" in on and on.count("--force") == 2
    for name in SWITCHES:
        for word in ("maybe", "2", "yes no", "$(HOME)"):
            done = make("-n", "gc", f"{name}={word}")
            assert done.returncode == 2 and done.stdout == ""
            assert f"{name}={word} is neither yes nor no: write {name}=1 or {name}=0" in done.stderr


def test_the_reaper_alone_is_on_where_nothing_is_said():
    aws = ("aws", "BUCKET=b", "EMAIL=e")
    assert "--no-reaper" not in shown(*aws) and "--no-reaper" not in shown(*aws, "REAPER=yes")
    assert "--no-reaper" in shown(*aws, "REAPER=no") and "--no-reaper" in shown(*aws, "REAPER=off")


def words(*given: str) -> list[str]:
    """The words that the one command which make would run gets from the shell."""
    return shlex.split(shown(*given).replace("\\\n", " "))


def test_values_reach_the_command_as_they_are(tmp_path):
    wild = "my $(shell touch pwned) 'bundle' `touch pwned`;*.gz"
    assert words("serve", f"MODEL={wild}", "PORT=80")[3:] == [wild, "--port=80"]
    assert words("promote", "BY=train:val_map50", "BUMP=major")[3:] == ["train:val_map50", "--bump=major"]
    assert words("push", "TARGETS=train deploy")[4:] == ["train", "deploy"]
    assert words("gc", "KEEP=a b*")[3:] == ["--keep", "a", "b*"]
    sweep = words("sweep", "LR=0.1 0.2", "PARAMS=train.epochs=10,20 model.size='xs'")
    assert sweep[3:] == ["lr=0.1,0.2", "train.epochs=10,20", "model.size='xs'", "--jobs=2"]
    experiment = words("experiment", "SET=lr=0.2 train.epochs=3;x", "NAME=my-try", "RUNNER=ec2")
    settings = ["runner.kind=ec2", "lr=0.2", "train.epochs=3;x"]
    assert experiment[4:] == ["--name=my-try", *(f"--set-param={each}" for each in settings)]
    assert not (ROOT / "pwned").exists()


@pytest.fixture
def stubbed(tmp_path) -> Path:
    """The Makefile in a folder whose .venv/bin/python prints its environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o755)
    return tmp_path


OTHERS = {
    **{"PYTHONPATH": "/opt/ros/lib", "PYTHONHOME": "/usr", "PYTHONSAFEPATH": "1", "PYTHONOPTIMIZE": "2"},
    **{"PYTHONDONTWRITEBYTECODE": "1"},
    **{"PIP_USER": "1", "PIP_TARGET": "/opt", "PIP_NO_BINARY": ":all:", "PIP_REQUIREMENT": "x", "PIP_PREFIX": "/opt"},
    **{"UV_NO_BINARY": "1", "UV_TARGET": "/opt", "UV_EXCLUDE_NEWER": "2020-01-01", "UV_PYTHON": "3.8"},
    **dict.fromkeys(entry.GIT_LOCAL, "/elsewhere"),
}
REACH = {
    "PIP_INDEX_URL": "https://mirror",
    "PIP_CERT": "/ca",
    "UV_DEFAULT_INDEX": "https://mirror",
    "UV_CACHE_DIR": "/c",
}


def test_settings_of_other_projects_are_left_out_and_doctor_hears_which(stubbed):
    """M2, M5, M14: search paths, pip's and uv's settings, and the repository of a git hook."""
    reach = REACH | {"GIT_SSH_COMMAND": "ssh -i key", "PYTHONUNBUFFERED": "1"}
    for target in ("doctor", "push"):
        done = make(*INSTALLED, target, folder=stubbed, **OTHERS, **reach)
        assert done.returncode == 0, done.stderr
        got = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        assert not {name for name in OTHERS if got.get(name) == OTHERS[name]}
        assert reach.items() <= got.items()
        assert (got["PIP_USER"], got["UV_NO_CONFIG"]) == ("0", "1")
        assert set(got.get("PLANTDOC_LEFT_OUT", "").split()) == (OTHERS.keys() if target == "doctor" else set())


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_python_that_does_not_fit_is_told_from_one_that_is_not_there(tmp_path):
    """M18: an older Python, and a shim that resolves to nothing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for lock in ROOT.glob("requirements*.txt"):
        (tmp_path / lock.name).touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "grep", "make", "env", "printf", "awk", "rm"):
        (programs / name).symlink_to(shutil.which(name))
    path = {"PATH": str(programs)}
    done = make("setup", folder=tmp_path, **path)
    assert done.returncode == 2 and "; none of them is there: install one" in done.stderr
    program(programs, "python3.11", "echo is 3.11.2; exit 1")
    program(programs, "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    done = make("setup", folder=tmp_path, **path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "python3.11 is 3.11.2" in done.stderr and "python3.12 pyenv: python3.12: command not found" in done.stderr
    assert "PYTHON=/path/to/python3.12" in done.stderr and not (tmp_path / ".venv").exists()
