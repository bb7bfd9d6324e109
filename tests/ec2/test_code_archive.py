"""The code that goes to a machine: what git tracks as it is now, the same bytes each time, nothing secret."""

from __future__ import annotations

import io
import os
import tarfile

import folder_deps
import pytest
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.ec2 import code_archive

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def repository(tmp_path):
    """A small repository with a train stage; returns its folder."""
    files = {
        "dvc.yaml": "stages:\n  train:\n    deps: [src/train.py, src/new.py, data/tfrecords]\n",
        "params.yaml": "lr: 0.1\n",
        "src/train.py": "print(1)\n",
        "scripts/tool.sh": "#!/bin/sh\n",
        "results/train/metrics.json": "{}",
        "tests/test_x.py": "",
        ".gitignore": "*.log\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    os.chmod(tmp_path / "scripts/tool.sh", 0o755)
    small_repo.git(tmp_path, "init", "-q")
    small_repo.git(tmp_path, "add", "-A")
    small_repo.git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def write(repository, name: str, text: str, track: bool = True) -> None:
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text(text)
    if track:
        small_repo.git(repository, "add", "-f", name)


def members(packed: code_archive.Archive) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed.content)) as tar:
        return {each.name: each for each in tar}


def text(packed: code_archive.Archive, name: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(packed.content)) as tar:
        return tar.extractfile(name).read().decode()


def test_what_is_in_it(repository):
    write(repository, "src/train.py", "print(2)\n")  # staged
    write(repository, "params.yaml", "lr: 0.2\n", track=False)  # changed, not staged
    write(repository, "src/new.py", "", track=False)  # a dep that git does not know yet
    write(repository, "dvc.lock", "stages: {}\n", track=False)
    write(repository, "debug.log", "", track=False)
    write(repository, "stray.py", "", track=False)
    packed = code_archive.make(repository)
    names = [".gitignore", "dvc.lock", "dvc.yaml", "params.yaml", "scripts/tool.sh", "src/new.py", "src/train.py"]
    assert list(members(packed)) == names
    assert text(packed, "params.yaml") == "lr: 0.2\n" and text(packed, "src/train.py") == "print(2)\n"
    assert members(packed)["scripts/tool.sh"].mode == 0o755 and members(packed)["params.yaml"].mode == 0o644
    assert packed.left_out == []


def test_of_a_folder_of_code_all_tracked_files_are_needed_and_others_refused(tmp_path):
    folder = folder_deps.make(tmp_path)
    folder_deps.leave_ignored(folder / "src/room")
    inside = {name for name in members(code_archive.make(folder)) if name.startswith("src/room/")}
    assert inside == {name for name in folder_deps.FILES if name.startswith("src/room/")}
    write(folder, "src/room/aws.key", "x")
    with pytest.raises(UserError, match=r"src/room/aws\.key looks as if it held a password or key, and the training"):
        code_archive.make(folder)
    small_repo.git(folder, "rm", "-q", "-f", "src/room/aws.key")
    write(folder, "src/room/scratch.py", "", track=False)
    with pytest.raises(UserError, match=r"src/room/scratch\.py: not tracked by git"):
        code_archive.make(folder)


def test_a_deleted_file_is_left_out(repository):
    (repository / "scripts/tool.sh").unlink()
    assert "scripts/tool.sh" not in members(code_archive.make(repository))


def test_a_link_stays_a_link(repository):
    (repository / "latest").symlink_to("/etc/hostname")
    small_repo.git(repository, "add", "latest")
    member = members(code_archive.make(repository))["latest"]
    assert member.issym() and member.linkname == "/etc/hostname"


def test_the_same_tree_gives_the_same_bytes(repository, monkeypatch):
    first = code_archive.make(repository)
    for path in repository.rglob("*.py"):
        os.utime(path, (1, 1))
    os.chmod(repository / "params.yaml", 0o600)
    write(repository, "results/train/metrics.json", '{"changed": 1}')
    monkeypatch.setattr("time.time", lambda: 1e9)
    again = code_archive.make(repository)
    assert again.content == first.content and again.sha256 == first.sha256
    assert all((m.mtime, m.uid, m.gid, m.uname, m.gname) == (0, 0, 0, "", "") for m in members(again).values())
    write(repository, "params.yaml", "lr: 0.3\n")
    assert code_archive.make(repository).sha256 != first.sha256


@pytest.mark.parametrize(
    "name",
    [
        ".env", "deploy/.env.production", "prod.env", "keys/server.pem", "tls.key", "id_rsa", "id_ed25519.bak",
        ".dvc/config.local", "credentials", ".aws/config", "google-credentials.json", ".netrc", ".pypirc", "a.p12",
    ],
)  # fmt: skip
def test_secret_looking_names_are_left_out_and_told(repository, name):
    write(repository, name, "x")
    packed = code_archive.make(repository)
    assert packed.left_out == [name] and name not in members(packed)


@pytest.mark.parametrize(
    "content",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        "-----BEGIN PRIVATE KEY-----\nabc",
        "key = 'AKIAIOSFODNN7EXAMPLE'",
        f"    secret_access_key = {SECRET}",
        f'{{"AWS_SECRET_ACCESS_KEY": "{SECRET}"}}',
        "token = ghp_" + "a1B2" * 9,
    ],
)
def test_secret_looking_content_is_left_out_and_told(repository, content):
    write(repository, "notes/setup.txt", content)
    packed = code_archive.make(repository)
    assert packed.left_out == ["notes/setup.txt"] and "notes/setup.txt" not in members(packed)


def test_talk_about_secrets_is_no_secret(repository):
    write(repository, "README", "set AWS_SECRET_ACCESS_KEY, or secret_access_key = ... in the profile")
    assert code_archive.make(repository).left_out == []


def test_a_needed_file_with_a_secret_stops(repository):
    write(repository, "src/train.py", f"secret_access_key = '{SECRET}'")
    with pytest.raises(UserError, match=r"src/train\.py looks as if"):
        code_archive.make(repository)


def test_data_in_git_stops(repository, monkeypatch):
    monkeypatch.setattr(code_archive, "LIMIT", 3_000_000)
    write(repository, "big.bin", "x" * 4_000_000)
    with pytest.raises(UserError, match=r"4 MB.*big\.bin \(4\.0 MB\).*dvc add"):
        code_archive.make(repository)


def test_the_project_itself_is_small_and_clean(root):
    packed = code_archive.make(root)
    assert packed.left_out == [] and len(packed.content) < 900_000
    needed = {
        "src/train.py",
        "requirements-train.txt",
        "requirements-gpu.txt",
        "requirements.txt",
        "Makefile",
        "dvc.lock",
        "params.yaml",
    }
    assert needed <= set(members(packed))
