"""Names that a person types, in the one form that no shell and no command takes for anything else."""

from __future__ import annotations

import os
import re

from plantdoc.core.errors import UserError

# Of versions, revisions, experiments, stages, metrics and endpoints: also HEAD~1, HEAD^, main@{1}, train:val_map50.
NAME = re.compile(r"[./]*\w[\w./@{}^~:+-]*")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def checked(name: str, what: str) -> str:
    """The name, if it is one.

    Args:
        name: as typed.
        what: it stands for, with its article, for the message.

    Raises:
        UserError: it has another form.
    """
    if NAME.fullmatch(name):
        return name
    raise UserError(
        f"{name!r} is not the name of {what}: names have letters, digits and . _ - / @ : + ~ ^ {{ }}, and do not begin "
        "with -"
    )


def checked_or_path(name: str, what: str) -> str:
    """The same, where a file or folder that is there may have any name."""
    return name if not name.startswith("-") and os.path.exists(name) else checked(name, what)
