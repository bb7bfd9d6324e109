"""What every stage does around its own work: outputs that survive a failure, and one clear line for the person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from plantdoc.core import stage


@pytest.fixture
def old(tmp_path):
    """A folder that an earlier run left."""
    folder = tmp_path / "data" / "raw"
    folder.mkdir(parents=True)
    (folder / "old.txt").write_text("old")
    return folder


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_folder_takes_the_place_of_the_old(old):
    with stage.replacing(old) as folder:
        (folder / "new.txt").write_text("new")
        assert names(old) == ["old.txt"], "the old one stays until the new one is whole"
    assert names(old) == ["new.txt"]
    assert names(old.parent) == ["raw"]


def test_a_file_is_replaced_too_and_its_folder_made(tmp_path):
    path = tmp_path / "results" / "metrics.json"
    for text in ("1", "2"):
        with stage.replacing(path, folder=False) as file:
            file.write_text(text)
        assert path.read_text() == text
    assert names(path.parent) == ["metrics.json"]


def test_a_file_is_there_at_every_moment(tmp_path):
    path = tmp_path / "last.npz"
    path.write_text("0")
    look = f"import os, sys\nwhile os.path.exists({str(path)!r}): pass"
    watcher = subprocess.Popen([sys.executable, "-c", look])
    try:
        for i in range(2000):
            with stage.replacing(path, folder=False) as file:
                file.write_text(str(i))
        assert watcher.poll() is None, "it was gone for a moment, and so it is after a kill at that moment"
    finally:
        watcher.kill()
        watcher.wait()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_a_failure_leaves_the_old_one_and_nothing_beside_it(old, error):
    with pytest.raises(error), stage.replacing(old) as folder:
        (folder / "half.txt").write_text("half")
        raise error
    assert names(old) == ["old.txt"]
    assert names(old.parent) == ["raw"]


def test_what_a_killed_run_left_beside_does_not_get_into_the_output(old):
    left = old.with_name(".raw.partial")
    left.mkdir()
    (left / "left.txt").write_text("left")
    with stage.replacing(old) as folder:
        (folder / "new.txt").write_text("new")
    assert names(old) == ["new.txt"]


def test_a_link_in_the_place_is_replaced_not_followed(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    (tmp_path / "raw").symlink_to(target)
    with stage.replacing(tmp_path / "raw") as folder:
        (folder / "new.txt").write_text("new")
    assert names(target) == ["mine.txt"]
    assert names(tmp_path / "raw") == ["new.txt"]


@pytest.fixture
def run_stage(root, tmp_path):
    """Run the body of a `main` as a stage script of its own; returns the finished process."""

    def run(body: str) -> subprocess.CompletedProcess:
        script = tmp_path / "paint.py"
        text = "import os, signal\nfrom plantdoc.core import stage\n"
        text += "from plantdoc.core.errors import UserError\ndef main():\n"
        script.write_text(text + textwrap.indent(textwrap.dedent(body), "    ") + "\nstage.run(main)\n")
        environment = os.environ | {"PYTHONPATH": str(root / "src")}
        command = [sys.executable, str(script)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def test_a_users_mistake_is_one_line(run_stage):
    done = run_stage("raise UserError('lr = -1: it must be positive; set it in params.yaml')")
    assert done.returncode == 1
    assert done.stderr == "paint: lr = -1: it must be positive; set it in params.yaml\n"


def test_a_mistake_of_ours_keeps_its_traceback(run_stage):
    done = run_stage("{}['x']")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'x'" in done.stderr


def test_a_full_disk_is_told_and_the_old_output_stays(run_stage, tmp_path):
    # A device that is always full: the error is the kernel's own.
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    (tmp_path / "raw").mkdir()
    done = run_stage(
        """
        with stage.replacing("raw") as folder:
            os.symlink("/dev/full", folder / "a.txt")
            (folder / "a.txt").write_text("more than fits")
        """
    )
    assert done.returncode == 1
    assert done.stderr.startswith("paint: the disk is full")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["raw"]


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(run_stage):
    done = run_stage("open('/nowhere/at/all')")
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr


def test_an_interrupted_stage_says_so_and_ends_with_130(run_stage):
    # A shell starts its background jobs with SIGINT ignored, and they hand that on.
    restored = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    done = run_stage(f"{restored}\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()")
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "paint: interrupted\n"  # what DVC does to outputs: tests/core/test_user_environments.py
