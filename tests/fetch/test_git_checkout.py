"""One commit of a git repository comes to disk, or a clear message."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.fetch import git_checkout


@pytest.fixture
def upstream(tmp_path) -> tuple[str, list[str]]:
    """A bare repository that serves any commit by its id, as GitHub does, and its three commits, the oldest first."""
    work, bare = tmp_path / "work", tmp_path / "upstream.git"
    work.mkdir()
    small_repo.git(work, "init", "-q", "-b", "main")
    commits = []
    for i in range(3):
        (work / "TRAIN").mkdir(exist_ok=True)
        (work / "TRAIN" / f"what? 100% & {i},+.txt").write_text(f"{i}\r\n")
        (work / "link").unlink(missing_ok=True)
        (work / "link").symlink_to("/etc/passwd")
        small_repo.git(work, "add", "-A")
        small_repo.git(work, "commit", "-q", "-m", str(i))
        commits.append(small_repo.git(work, "rev-parse", "HEAD").strip())
    small_repo.git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    for setting in ("uploadpack.allowReachableSHA1InWant", "uploadpack.allowAnySHA1InWant"):
        small_repo.git(bare, "config", setting, "true")
    return f"file://{bare}", commits


def test_an_older_commit_is_fetched_by_its_id_without_history(upstream, tmp_path):
    url, commits = upstream
    to = tmp_path / "to"
    to.mkdir()
    git_checkout.checkout(url, commits[1], to)
    assert sorted(p.name for p in (to / "TRAIN").iterdir()) == ["what? 100% & 0,+.txt", "what? 100% & 1,+.txt"]
    assert (to / "TRAIN/what? 100% & 1,+.txt").read_bytes() == b"1\r\n"
    assert small_repo.git(to, "rev-list", "--all", "--count", "HEAD").strip() == "1"
    assert not (to / "link").is_symlink()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/x.git", "cannot be reached: check the network"),
        ("file:///nowhere/x.git", "is not a git repository that can be read"),
        ("--upload-pack=touch /tmp/harm", "git cannot fetch"),
    ],
)
def test_what_cannot_be_reached_is_named(url, message, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        git_checkout.checkout(url, "0" * 39 + "1", tmp_path)
    assert url in str(raised.value)


def test_an_unknown_commit_is_named(upstream, tmp_path):
    (tmp_path / "to").mkdir()
    with pytest.raises(UserError, match=r"has no commit 0{39}1: check fetch\.commit"):
        git_checkout.checkout(upstream[0], "0" * 39 + "1", tmp_path / "to")


def test_git_settings_of_a_hook_do_not_lead_astray(upstream, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere" / "index"))
    (tmp_path / "to").mkdir()
    git_checkout.checkout(upstream[0], upstream[1][0], tmp_path / "to")
    assert (tmp_path / "to/TRAIN/what? 100% & 0,+.txt").exists() and not (tmp_path / "elsewhere").exists()


def test_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subprocess.run(["/bin/sh", "-c", "git"], capture_output=True).returncode == 127
    with pytest.raises(UserError, match="needs git"):
        git_checkout.checkout("file:///x", "0" * 40, Path(tmp_path))
