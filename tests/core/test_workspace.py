"""The main repository is found from DVC's copies of it."""

from __future__ import annotations

from pathlib import Path

from plantdoc.core.workspace import main_root, scratch


def test_the_main_root():
    assert main_root("/home/me/plants") == Path("/home/me/plants")
    assert main_root("/home/me/plants/.dvc/tmp/exps/standalone/tmpx3") == Path("/home/me/plants")
    assert main_root("/home/me/plants/.dvc/tmp/exps/tmpx3") == Path("/home/me/plants")
    assert main_root("/home/me/.dvc/plants/tmp/exps") == Path("/home/me/.dvc/plants/tmp/exps")


def test_the_main_root_of_here(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc/tmp/exps/standalone/x"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert main_root() == tmp_path


def test_scratch_starts_empty_and_leaves_nothing(tmp_path):
    (tmp_path / "s/old").mkdir(parents=True)
    with scratch(tmp_path / "s") as folder:
        assert list(folder.iterdir()) == []
        (folder / "new").touch()
    assert list(tmp_path.iterdir()) == []
