"""A stage does not outlive its parent, does not run twice, and ends cleanly when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import child_processes
import psutil
import pytest

from plantdoc.core import processes
from plantdoc.core.errors import UserError

CHILD = """
import sys, threading
sys.path.insert(0, {src!r})
from plantdoc.core import processes
processes.die_with_dvc(poll=0.05)
print("ready", flush=True)
threading.Event().wait(60)
"""


def start_grandchild(
    tmp_path: Path, root: Path, through_shell: bool, name: str = "dvc"
) -> tuple[subprocess.Popen, psutil.Process]:
    """A program called `name` that starts a guarded process, directly or through a shell that stays in between."""
    child = tmp_path / "child.py"
    child.write_text(CHILD.format(src=str(root / "src")))
    command = f"{sys.executable} {child}; true" if through_shell else f"exec {sys.executable} {child}"
    parent = textwrap.dedent(f"""
        import subprocess
        subprocess.run({command!r}, shell=True)
    """)
    (tmp_path / name).write_text(parent)
    process = subprocess.Popen([sys.executable, tmp_path / name], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process, started_with(process, child)


def started_with(process: subprocess.Popen, script: Path) -> psutil.Process:
    """The one process below that runs `script`, and no shell that names it."""
    below = child_processes.below(process.pid)
    (found,) = [p for p in below if str(script) in child_processes.command_line(p)[-1:]]
    return found


@pytest.mark.parametrize("through_shell", [False, True])
def test_ends_when_its_dvc_is_killed(tmp_path, root, through_shell):
    process, guarded = start_grandchild(tmp_path, root, through_shell)
    process.kill()
    process.wait()
    guarded.wait(timeout=20)


def test_outlives_a_parent_that_is_no_dvc(tmp_path, root):
    process, guarded = start_grandchild(tmp_path, root, through_shell=False, name="terminal")
    process.kill()
    process.wait()
    try:
        with pytest.raises(psutil.TimeoutExpired):
            guarded.wait(timeout=1)
    finally:
        guarded.kill()


@pytest.mark.parametrize("through_shell", [False, True])
def test_ends_when_its_dvc_was_killed_before_it_could_watch(tmp_path, root, through_shell):
    """As DVC starts it, with DVC_STAGE; the parent is gone when the stage has come so far."""
    go, child, said = tmp_path / "go", tmp_path / "child.py", tmp_path / "said"
    waiting = f"import os, sys, time\nopen({str(tmp_path / 'there')!r}, 'w')\n"
    waiting += f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
    child.write_text(waiting + CHILD.format(src=str(root / "src")))
    line = f"{'' if through_shell else 'exec '}{sys.executable} {child} >{said} 2>&1{'; true' if through_shell else ''}"
    (tmp_path / "dvc").write_text(f"import subprocess\nsubprocess.run({line!r}, shell=True)\n")
    process = subprocess.Popen([sys.executable, tmp_path / "dvc"], env=os.environ | {"DVC_STAGE": "train"})
    deadline = time.monotonic() + 20
    while not (tmp_path / "there").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    orphan = started_with(process, child)
    process.kill()
    process.wait()
    go.touch()
    orphan.wait(timeout=20)
    assert said.read_text() == "the dvc process that started this stage has ended: stopping\n"


def test_only_one_names_the_holder(tmp_path):
    refused = pytest.raises(UserError, match=rf"^it is already running in process {os.getpid()}\b")
    with processes.only_one(tmp_path / "lock", "it"), refused, processes.only_one(tmp_path / "lock", "it", patience=0):
        pass
    with processes.only_one(tmp_path / "lock", "it", patience=0):
        pass


def test_terminate_becomes_a_keyboard_interrupt():
    before = signal.getsignal(signal.SIGTERM)
    try:
        processes.end_on_terminate()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
