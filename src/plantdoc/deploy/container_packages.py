"""Packages of the container that serves the bundle, unpacked for its Python: they travel in the bundle as code/lib.

AWS's TensorFlow inference image puts code/lib on Python's path and then installs nothing (serve.py below
scripts/docker/tensorflow/inference/sagemaker of github.com/aws/deep-learning-containers), so that no start of a
container waits for a package index.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from plantdoc.core import hashing
from plantdoc.core.errors import UserError

# Of the image; what infra/container/requirements.txt is made for by `make lock`.
PYTHON, PLATFORM = "3.12", "x86_64-manylinux_2_28"
COMMAND = "python scripts/container_packages.py"
# What the installer writes about itself, which is no content of a wheel and need not be the same on two machines.
_INSTALLERS = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json")


def folder(lock: Path | str) -> Path:
    """Where the packages of this lock are kept: beside those of the Python that runs, by the lock's content."""
    return Path(sys.prefix, "container", hashing.of_file(lock)[:16])


def bring(lock: Path | str) -> Path:
    """Install the packages of `lock` into `folder(lock)`, unless they are there; returns that folder.

    Each wheel is checked by its hash in the lock, which holds one per package: any machine has the same bytes.

    Raises:
        UserError: a wheel cannot be had, has another hash, or the folder cannot be written.
    """
    kept = folder(lock)
    if kept.is_dir():
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, ignore_cleanup_errors=True) as scratch:
            made = Path(scratch, "made")
            _install(Path(lock), made)
            for name in _INSTALLERS:
                for path in made.glob(f"*.dist-info/{name}"):
                    path.unlink()
            (made / ".lock").unlink(missing_ok=True)
            try:
                made.rename(kept)
            except OSError:
                if not kept.is_dir():  # by another process
                    raise
    except OSError as error:
        raise UserError(
            f"packages of the serving container cannot be kept in {kept.parent} ({error.strerror}): run `{COMMAND}` as "
            "the user who may write there, or use a virtual environment of your own"
        ) from None
    return kept


def _install(lock: Path, target: Path) -> None:
    container = ("--python-version", PYTHON, "--python-platform", PLATFORM, "--only-binary", ":all:")
    here = ("--python", sys.executable, "--target", str(target), "--link-mode", "copy")
    command = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes")
    done = subprocess.run([*command, *container, *here, "-r", lock], capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split())[-600:]
        raise UserError(
            f"the packages that {lock} locks for the serving container (Python {PYTHON}, {PLATFORM}) cannot be "
            f"installed: {said or f'uv ended with {done.returncode}'}\nWith the package index in reach, run `{COMMAND}`"
        )
