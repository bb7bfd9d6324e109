"""The DVC remote `storage`: what .dvc/config says of it, and pointing it elsewhere."""

from __future__ import annotations

import configparser
import shutil
import tempfile
from pathlib import Path

from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.repo.commands import dvc

CONFIG = Path(".dvc/config")
FOLDER = "../plant-disease-storage"  # where it points without AWS: beside the clone, seen from the clone
NAME = "storage"


def read() -> dict[str, str]:
    """Its settings in .dvc/config, like url and region; none where there is no such remote.

    Raises:
        UserError: the file cannot be read.
    """
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(CONFIG, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UserError(f"{CONFIG} cannot be read: {error}; restore it with `git checkout {CONFIG}`") from None
    section = f"'remote \"{NAME}\"'"
    return dict(config[section]) if section in config else {}


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
