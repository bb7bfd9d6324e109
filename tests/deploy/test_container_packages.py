"""Packages of the serving container: brought by hash for its Python, and equal on two machines, whatever theirs is."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from plantdoc.core import hashing
from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle, container_packages

ROOT = Path(__file__).resolve().parents[2]
TAG = "cp312-cp312-manylinux_2_28_x86_64"


def wheel(folder: Path, tag: str, content: bytes) -> str:
    """Make a wheel of the package `leaf` with one compiled module; returns its SHA-256."""
    folder.mkdir(exist_ok=True)
    path = folder / f"leaf-1.0-{tag}.whl"
    files = {
        "leaf/__init__.py": b"",
        "leaf/_c.so": content,
        "leaf-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: leaf\nVersion: 1.0\n",
        "leaf-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=") for name, data in files.items()
    }
    record = "".join(f"{name},sha256={digest.decode()},{len(files[name])}\n" for name, digest in digests.items())
    files["leaf-1.0.dist-info/RECORD"] = f"{record}leaf-1.0.dist-info/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return hashing.of_file(path)


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder that is all that uv finds packages in; this Python's own folder is an empty one."""
    settings = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(tmp_path / "wheels"), "UV_CACHE_DIR": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "one"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


def locked(folder: Path, sha256: str) -> Path:
    (folder / "lock.txt").write_text(f"leaf==1.0 \\\n    --hash=sha256:{sha256}\n")
    return folder / "lock.txt"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_they_are_brought_once_for_the_containers_python_with_nothing_of_the_installers(wheels, tmp_path, monkeypatch):
    # One for this Python, which is not wanted, comes along.
    here = f"cp3{sys.version_info.minor}"
    wheel(wheels, "py3-none-any" if here == "cp312" else f"{here}-{here}-manylinux_2_28_x86_64", b"here")
    lock = locked(tmp_path, wheel(wheels, TAG, b"there"))
    kept = container_packages.bring(lock)
    assert kept == container_packages.folder(lock) and kept.is_relative_to(tmp_path / "one")
    assert sorted(contents(kept)) == [
        "leaf-1.0.dist-info/METADATA", "leaf-1.0.dist-info/WHEEL", "leaf/__init__.py", "leaf/_c.so"
    ]  # fmt: skip
    assert (kept / "leaf/_c.so").read_bytes() == b"there"
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    for path in wheels.iterdir():
        path.unlink()
    assert container_packages.bring(lock) == kept
    # Another machine, and another lock on this one.
    wheel(wheels, TAG, b"there")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "two"))
    assert contents(container_packages.bring(lock)) == contents(kept)
    lock.write_text("# changed\n" + lock.read_text())
    assert container_packages.folder(lock).name != kept.name


@pytest.mark.parametrize("what", ["another hash", "no index", "another Python alone"])
def test_what_cannot_be_had_is_one_message_with_the_command(wheels, tmp_path, what):
    if what == "another hash":
        wheel(wheels, TAG, b"there")
        lock = locked(tmp_path, "0" * 64)
    elif what == "no index":
        lock = locked(tmp_path, "0" * 64)
    else:
        lock = locked(tmp_path, wheel(wheels, "cp311-cp311-manylinux_2_28_x86_64", b"there"))
    with pytest.raises(
        UserError, match=r"(?s)lock\.txt locks .*Python 3\.12.*run `python scripts/container_packages\.py`"
    ):
        container_packages.bring(lock)
    assert not container_packages.folder(lock).exists() and list((tmp_path / "one/container").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(wheels, tmp_path):
    lock = locked(tmp_path, wheel(wheels, TAG, b"there"))
    (tmp_path / "one").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be kept in .*one/container"):
        container_packages.bring(lock)


def test_they_lie_in_the_bundle_and_no_list_to_install(tmp_path):
    (tmp_path / "packages/leaf/__pycache__").mkdir(parents=True)
    (tmp_path / "packages/leaf/__init__.py").touch()
    (tmp_path / "packages/leaf/__pycache__/x.pyc").touch()
    bundle.add_code(tmp_path / "content", tmp_path / "packages")
    assert list(contents(tmp_path / "content/code/lib")) == ["leaf/__init__.py"]
    assert not (tmp_path / "content/code/requirements.txt").exists()


def test_of_a_locks_hashes_that_of_the_wheel_is_left():
    spec = importlib.util.spec_from_file_location("script", ROOT / "scripts/container_packages.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    block = "leaf==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n    # via x"
    for chosen in ("aa", "bb", "cc"):
        assert script._narrowed(block, {chosen}) == f"leaf==1.0 \\\n    --hash=sha256:{chosen}\n    # via x"
    assert script._narrowed("# a comment", {"aa"}) == "# a comment"
