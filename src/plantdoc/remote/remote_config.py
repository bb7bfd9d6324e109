"""DVC's default remote: reading it, and pointing the one in .dvc/config elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from plantdoc.core import dvc_config, stage
from plantdoc.core.errors import UserError
from plantdoc.repo.commands import dvc

CONFIG = Path(".dvc/config")
FOLDER = "../plant-disease-storage"  # where it points without AWS: beside the clone, seen from the clone
NAME = "storage"


def default() -> dvc_config.Remote:
    """DVC's default remote of the repository in the current directory.

    Raises:
        UserError: there is none, or DVC's settings cannot be read.
    """
    remote = dvc_config.default_remote()
    if not remote:
        raise UserError("DVC has no default remote: restore it with `git checkout .dvc/config`, or run `make aws`")
    return remote


def committed() -> dict[str, str]:
    """Settings of the remote NAME as .dvc/config has them, like url and region; none where it has no such remote.

    Raises:
        UserError: the file cannot be read.
    """
    return dvc_config.read_file(CONFIG)["remote"].get(NAME, {})


def write(settings: dict[str, str]) -> None:
    """Make it the default remote with these settings and no others, all of them or, on a failure, none."""
    with tempfile.TemporaryDirectory() as folder, stage.replacing(CONFIG, folder=False) as target:
        copy = Path(folder, CONFIG)
        copy.parent.mkdir()
        shutil.copy(CONFIG, copy)
        dvc("remote", "add", "--default", "--force", NAME, settings["url"], root=folder)
        for key in sorted(settings.keys() - {"url"}):
            dvc("remote", "modify", NAME, key, settings[key], root=folder)
        shutil.copy(copy, target)
