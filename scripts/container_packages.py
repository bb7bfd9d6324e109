"""Bring the packages that SageMaker's container needs beside its own, for the deploy stage to put into the bundle.

    python scripts/container_packages.py            what `make setup` runs: 7 MB, checked by hash
    python scripts/container_packages.py --narrow   leave one hash per package in the lock; a part of `make lock`

They are for the Python of that container, whatever Python runs this. Where they are missing, the deploy stage brings
them itself.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.core.errors import UserError

LOCK = Path(__file__).resolve().parent.parent / "infra/container/requirements.txt"
# pip's names of the platforms whose wheels the container takes, the best first.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--narrow", action="store_true", help="rewrite the lock with the hash of the wheel that fits")
    narrows = parser.parse_args().narrow
    # Not for --help.
    from plantdoc.deploy import container_packages

    if narrows:
        narrow(LOCK, container_packages.PYTHON)
    container_packages.bring(LOCK)


def narrow(lock: Path, python: str) -> None:
    """Leave of each package's hashes in `lock` that of the wheel which pip chooses for the container."""
    platforms = (word for name in PLATFORMS for word in ("--platform", name))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", "--target", "none"]
    command += ["--python-version", python, *platforms, "--only-binary", ":all:", "--no-deps", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(lock)], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pip finds no wheels for {lock}: {' '.join(done.stderr.split())[-600:]}")
    chosen = {each["download_info"]["archive_info"]["hashes"]["sha256"] for each in json.loads(done.stdout)["install"]}
    blocks = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))
    lock.write_text("\n".join(_narrowed(each, chosen) for each in blocks), encoding="utf-8")


def _narrowed(block: str, chosen: set[str]) -> str:
    """The lines of a package in a lock, with the hash that is in `chosen` alone."""
    lines = block.split("\n")
    hashes = [line for line in lines if "--hash=sha256:" in line]
    if not hashes:
        return block
    (kept,) = (line for line in hashes if line.partition("sha256:")[2].split()[0] in chosen)
    at = lines.index(hashes[0])
    return "\n".join([*lines[:at], kept.removesuffix(" \\"), *(line for line in lines[at:] if line not in hashes)])


if __name__ == "__main__":
    stage.run(main)
