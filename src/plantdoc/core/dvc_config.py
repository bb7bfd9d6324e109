"""DVC's settings as DVC itself merges them: system, global, .dvc/config and .dvc/config.local, the last one wins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plantdoc.core.errors import UserError


@dataclass(frozen=True)
class Remote:
    """A remote's name and address (`s3://bucket/prefix` or an absolute path), and DVC's other settings of it."""

    name: str
    url: str
    settings: dict[str, Any] = field(repr=False)  # may hold a secret out of .dvc/config.local

    @property
    def on_s3(self) -> bool:
        return self.url.startswith("s3://")


def read(root: Path | str = ".") -> dict[str, dict]:
    """All settings of the DVC repository at `root`, checked and with DVC's defaults; paths in them are absolute.

    Raises:
        UserError: a file of settings cannot be read, or says something that DVC does not know.
    """
    from dvc.config import Config  # a quarter of a second, where `dvc config` takes more than one

    with _explained("DVC's settings"):
        return Config(str(Path(root, ".dvc").absolute()))


def read_file(path: Path) -> dict[str, dict]:
    """One file of settings as it is written, by section.

    Raises:
        UserError: it cannot be read.
    """
    from dvc.config import Config

    with _explained(str(path)):
        return Config.load_file(str(path))


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn DVC's errors about its settings into a UserError with the remedy."""
    from dvc.config import ConfigError

    try:
        yield
    except (ConfigError, OSError) as error:
        raise UserError(
            f"{what} cannot be read: {' '.join(str(error).split())}: restore .dvc/config with "
            "`git checkout .dvc/config`, or correct .dvc/config.local or your own settings of DVC"
        ) from None


def default_remote(root: Path | str = ".") -> Remote | None:
    """The remote that `dvc push` takes; None where there is none.

    Raises:
        UserError: the settings cannot be read, or name a remote that they do not have.
    """
    config = read(root)
    name = config["core"].get("remote", "").lower()  # as DVC keeps the names of remotes
    if not name:
        return None
    if name not in config["remote"]:
        raise UserError(
            f"DVC's default remote is {name!r}, which its settings do not describe: choose one of `dvc remote list` "
            "with `dvc remote default NAME`, or restore .dvc/config with `git checkout .dvc/config`"
        )
    settings = dict(config["remote"][name])
    return Remote(name, settings.pop("url"), settings)
