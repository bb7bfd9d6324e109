"""What make installs into .venv: the locks of what was asked for, and no target takes away what another needs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

UV = Path(sys.executable).parent / "uv"
SCRIPT = "#!/bin/sh\n"
LINTERS = {"ruff-1", "basedpyright-1"}
# Lock → packages, with a program of the same name where make runs one.
LOCKS = {
    "requirements.txt": {"dvc": "1", "numpy": "1"},
    "requirements-dev.txt": {"ruff": "1", "basedpyright": "1"},
    "requirements-gpu.txt": {"nvidia-cublas": "1"},
    "requirements-beam.txt": {"beam": "1"},
    "requirements-train.txt": {"numpy": "1"},
}


class Repository:
    """A folder with our Makefile, small locks, and a .venv whose packages come from a folder of wheels."""

    def __init__(self, folder: Path, root: Path):
        self.folder, self.wheels = folder, folder / "wheels"
        self.wheels.mkdir()
        shutil.copy(root / "Makefile", folder)
        (folder / "scripts").mkdir()
        (folder / "scripts/repro.py").touch()  # runs nothing: what it wants installed is what is looked at
        (folder / "scripts/container_packages.py").write_text("open('brought', 'a').write('once ')\n")
        (folder / "infra/container").mkdir(parents=True)
        (folder / "infra/container/requirements.txt").touch()
        for lock, packages in LOCKS.items():
            self.write(lock, packages)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
        (folder / ".venv/bin/uv").symlink_to(UV)

    def write(self, lock: str, packages: dict[str, str]) -> None:
        pins = (f"{name}=={version} --hash=sha256:{self.wheel(name, version)}\n" for name, version in packages.items())
        (self.folder / lock).write_text("".join(pins))

    def wheel(self, name: str, version: str) -> str:
        """A wheel of a package that is nothing but a program; returns its hash."""
        stem = f"{name.replace('-', '_')}-{version}"
        path = self.wheels / f"{stem}-py3-none-any.whl"
        files = {
            f"{stem}.data/scripts/{name}": SCRIPT,
            f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        files[f"{stem}.dist-info/RECORD"] = "".join(f"{each},,\n" for each in (*files, f"{stem}.dist-info/RECORD"))
        if not path.exists():
            with zipfile.ZipFile(path, "w") as archive:
                for each, text in files.items():
                    archive.writestr(each, text)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def make(self, *words: str) -> dict[str, tuple[int, int]]:
        """Run make; returns what is installed, with what tells of an installation: files of another one are others."""
        # Copies, since links to uv's cache would be the same files after an installation.
        uv = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.wheels), "UV_LINK_MODE": "copy"}
        environment = os.environ | uv | {"UV_CACHE_DIR": str(self.folder / "cache"), "MAKEFLAGS": ""}
        done = subprocess.run(["make", *words], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (packages,) = self.folder.glob(".venv/lib/python*/site-packages")
        records = {path.name.removesuffix(".dist-info"): path / "RECORD" for path in packages.glob("*.dist-info")}
        return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in records.items()}


@pytest.fixture
def repository(root, tmp_path) -> Repository:
    return Repository(tmp_path, root)


def test_linters_come_on_top_and_the_pipeline_takes_nothing_away(repository):
    user = repository.make("repro")
    assert user.keys() == {"dvc-1", "numpy-1"}
    both = repository.make("lint")
    assert both.keys() == {"dvc-1", "numpy-1", *LINTERS} and both | user == both
    assert repository.make("repro") == repository.make("lint") == both


def test_linters_first_is_the_same(repository):
    both = repository.make("lint")
    assert both.keys() == {"dvc-1", "numpy-1", *LINTERS}
    assert repository.make("repro") == both
    gpu = repository.make("setup", "GPU=1", "BEAM=1")
    assert gpu.keys() - both.keys() == {"nvidia_cublas-1", "beam-1"} and gpu | both == gpu
    assert repository.make("repro") == repository.make("lint") == gpu


def test_a_changed_lock_changes_its_own_packages_and_keeps_the_others(repository):
    before = repository.make("lint")
    repository.write("requirements.txt", {"dvc": "2"})
    after = repository.make("repro")
    assert after.keys() == {"dvc-2", *LINTERS} and after["ruff-1"] == before["ruff-1"]
    repository.write("requirements-dev.txt", {"ruff": "2", "basedpyright": "1"})
    assert repository.make("repro") == after  # which needs no linter
    assert repository.make("lint").keys() == {"dvc-2", "ruff-2", "basedpyright-1"}


def test_packages_of_the_serving_container_are_brought_with_the_environment(repository):
    brought = repository.folder / "brought"
    repository.make("setup")
    repository.make("repro")
    assert brought.read_text() == "once "
    (repository.folder / "infra/container/requirements.txt").write_text("# a newer one\n")
    repository.make("setup")
    assert brought.read_text() == "once once "


def test_a_machine_gets_what_a_training_needs_alone(repository):
    assert repository.make("train-environment").keys() == {"numpy-1"}
    assert repository.make("train-environment", "GPU=1").keys() == {"numpy-1", "nvidia_cublas-1"}
    assert not (repository.folder / "brought").exists()
