"""params.yaml, read and checked: a wrong key, type or range stops with the key's name, its value and what is allowed.

Each section has a typed, frozen model in a module of its own, which stands with the code that reads it: `fetch` in
plantdoc.fetch.fetch_params, and so on. The class `Params` there names the sections and keys that this code reads. Of
other sections the name alone is checked, so that a new key of theirs is no change of this code.
plantdoc.settings.all_params has all.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from plantdoc.core.errors import UserError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What may stand at the top of params.yaml, in this order.
SECTIONS = ("seed", "lr", "fetch", "augment", "model", "train", "evaluate", "deploy", "serve", "runner")

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A section with all its keys; others are refused."""

    # Strict: `epochs: "3"` and `epochs: 3.5` are mistakes, not requests for a conversion. Whole numbers pass as floats.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Part(Section):
    """Some keys of a section; the others are checked where they are read."""

    model_config = ConfigDict(extra="ignore")


class Root(Part):
    """The part of params.yaml that some code reads, one field per section.

    `MOVED` has keys that had another name in earlier versions: earlier name → name now.
    """

    MOVED: ClassVar[dict[str, str]] = {}


class Threads(Part):
    """The key of `train` that evaluate and deploy compute with, too."""

    threads: Count


Checked = TypeVar("Checked", bound=Root)


def load(model: type[Checked], path: Path | str = "params.yaml") -> Checked:
    """Read `path` and check what `model` names.

    Raises:
        UserError: the file is missing or not YAML, or a key is unknown, missing, of a wrong type or out of range.
    """
    return check(model, read(path), path)


def read(path: Path | str = "params.yaml") -> dict:
    """The plain values of a YAML 1.2 file, as DVC reads them (`1e-05` is a number)."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = YAML(typ="safe").load(text)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run this from the repository's root") from None
    except YAMLError as error:
        if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
            raise UserError(
                f"{path} has a merge conflict: keep one side, as with `git checkout --ours {path}` (in a rebase, "
                "`--theirs` are yours)"
            ) from None
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys; restore it with `git checkout {path}`")
    return values


def check(model: type[Checked], values: dict, path: Path | str = "params.yaml") -> Checked:
    """Turn plain values into `model`; every fault is named in one UserError."""
    moved = {old: new for old, new in model.MOVED.items() if has(values, old)}
    faults = [_explain_moved(moved)] if moved else []
    faults += [_explain_unknown(str(key), SECTIONS) for key in values if key not in SECTIONS]
    checked = None
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        faults += [_explain(model, fault) for fault in error.errors() if not _is_of_moved(fault, moved)]
    if faults or checked is None:
        raise UserError(f"{path}: " + "; ".join(faults))
    return checked


def has(values: dict, key: str) -> bool:
    """Whether nested values have a dotted key."""
    node: Any = values
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _is_of_moved(fault: ErrorDetails, moved: dict[str, str]) -> bool:
    """Whether a fault is nothing but a key under its earlier name."""
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return any(f"{new}.".startswith(f"{key}.") for new in moved.values())
    return fault["type"] == "extra_forbidden" and key in moved


def _explain_moved(moved: dict[str, str]) -> str:
    names = [f"{old} is {new} now" for old, new in moved.items()]
    more = f" and {len(names) - 3} more have moved" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}; `python scripts/recipe.py --migrate` rewrites params.yaml"


def _explain(model: type[Root], fault: ErrorDetails) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        section: Any = model
        for part in fault["loc"][:-1]:
            section = section.model_fields[part].annotation
        return _explain_unknown(key, tuple(section.model_fields))
    if fault["type"] == "missing":
        return f"{key} is missing"
    hint = ""
    if fault["type"] == "string_type" and not isinstance(fault["input"], dict | list):
        # YAML takes some texts for numbers, dates or nothing.
        example = "like '~'" if fault["input"] is None else f"'{fault['input']}'"
        hint = f": write it in quotes, {example}"
    return f"{key} = {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}{hint}"


def _explain_unknown(key: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    return f"{key} is not a known key; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
