"""Small files that git tracks, of any revision: JSON and tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from plantdoc.core.errors import UserError
from plantdoc.repo.revisions import Revision


def read_json(revision: Revision, path: str) -> Any:
    """The content of a JSON file, None where there is none.

    Raises:
        UserError: the file is broken.
    """
    text = revision.read(path)
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise UserError(f"{revision.name}: {path} is not valid JSON ({error}): restore it with git") from None


def read_rows(revision: Revision, path: str, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a table with a head, none where there is no such file."""
    text = (revision.read(path) or b"").decode("utf-8", errors="replace")
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
