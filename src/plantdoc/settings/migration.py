"""A params.yaml of an earlier version, brought to the names that keys have now.

Whole lines move, so that all else stays as it was written: comments, order, numbers, blank lines.
"""

from __future__ import annotations

import re

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat
from plantdoc.core.params import SECTIONS

# The first line of a section that is not there yet, as in params.yaml.
_HEADERS = {
    "serve": "serve:                         # how the bundle is served; changes no result\n",
    "runner": "runner:                        # how and where stages run; changes no result\n",
}


def migrate(text: str, moved: dict[str, str]) -> tuple[str, list[str]]:
    """Give keys the names that they have now.

    Args:
        text: of a params.yaml.
        moved: earlier dotted key (`section.key`) → key now.

    Returns:
        The new text, and a line for each key that was there under its earlier name.

    Raises:
        UserError: a key is there under both names with different values, or is written so that no line holds it alone.
    """
    values = flat(YAML(typ="safe").load(text))
    there = {key: moved[key] for key in values if key in moved}
    lines = [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]
    for old, new in there.items():
        if new in values and values[new] != values[old]:
            raise UserError(f"both {old} = {values[old]!r} and {new} = {values[new]!r} are in params.yaml: delete one")
        try:
            block = _cut(lines, *old.split("."))
            if new not in values:
                _paste(lines, block, old.partition(".")[2], *new.split("."))
            as_read = flat(YAML(typ="safe").load("".join(lines)))
        except YAMLError:
            raise _not_by_line(old) from None
        values = {new if key == old else key: value for key, value in values.items()}
        if as_read != values:
            raise _not_by_line(old)
    return "".join(lines), [f"{old} is {new} now" for old, new in there.items()]


def _cut(lines: list[str], section: str, key: str) -> list[str]:
    """Take the lines of a key out of `lines`, with the comment right above it."""
    document, inside = _read(lines, section)
    line, column = inside.lc.key(key)
    later = [inside.lc.key(other)[0] for other in inside if inside.lc.key(other)[0] > line]
    end = _after(lines, line, min(later, default=_end(lines, document, section)))
    first = line
    while lines[first - 1].startswith(" " * column + "#"):
        first -= 1
    block = [re.sub(f"^ {{0,{column}}}", "", text) for text in lines[first:end]]
    del lines[first:end]
    return block


def _paste(lines: list[str], block: list[str], old: str, section: str, key: str) -> None:
    """Put the lines of a key at the end of a section, which is made where it is not there yet."""
    document, column, before = YAML().load("".join(lines)), 2, section
    if section in document:
        document, inside = _read(lines, section)
        column = inside.lc.key(next(iter(inside)))[1]
    else:
        before = [name for name in SECTIONS[: SECTIONS.index(section)] if name in document][-1]
    at = _after(lines, document.lc.key(before)[0], _end(lines, document, before))
    block = [" " * column + _renamed(text, old, key) if text.strip() else text for text in block]
    lines[at:at] = block if before == section else ["\n", _HEADERS[section], *block]


def _read(lines: list[str], section: str) -> tuple[CommentedMap, CommentedMap]:
    """The document and one of its sections, both with the lines on which keys stand."""
    document = YAML().load("".join(lines))
    inside = document[section]
    if not isinstance(inside, CommentedMap) or inside.fa.flow_style():
        raise _not_by_line(section)
    return document, inside


def _end(lines: list[str], document: CommentedMap, section: str) -> int:
    """The line on which the next section begins."""
    first = document.lc.key(section)[0]
    return min((line for name in document if (line := document.lc.key(name)[0]) > first), default=len(lines))


def _after(lines: list[str], first: int, end: int) -> int:
    """The line after the last one from `first` to `end` that is neither blank nor a comment."""
    while end > first + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _renamed(text: str, old: str, new: str) -> str:
    """A line with another key, its comment in the same column."""
    text, count = re.subn(rf"^(['\"]?){re.escape(old)}\1(?= *:)", new, text)
    longer = (len(new) - len(old)) * count
    return re.sub(r"(?<=\S) {2,}(?=#)", lambda gap: " " * max(2, len(gap[0]) - longer), text, count=1)


def _not_by_line(key: str) -> UserError:
    return UserError(
        f"params.yaml: {key} is not written with each key on a line of its own: write it so, and run this again"
    )
