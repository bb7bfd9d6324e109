"""Set params.yaml to one of the named recipes in recipes/, or list them.

    python scripts/recipe.py                                    lists the recipes
    python scripts/recipe.py plantdoc-laptop                    sets params.yaml, then: dvc repro
    python scripts/recipe.py plantdoc-laptop train.epochs=30    the same, with a change of your own
    python scripts/recipe.py --migrate                          renames keys of earlier versions in params.yaml

Every recipe sets the same keys, so one takes the place of another whole; other keys stay as you have them. Comments
and order of params.yaml stay. To go back to the defaults: python scripts/recipe.py sample
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import params, stage, workspace
from plantdoc.core.errors import UserError
from plantdoc.fetch import source_place
from plantdoc.settings import all_params, migration

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
PARAMS = Path("params.yaml")
COMMENTS = 31  # the column at which the comments in params.yaml stand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", help="name of a recipe; without one they are listed")
    parser.add_argument(
        "changes", nargs="*", metavar="key=value", help="set on top of the recipe, like train.epochs=30"
    )
    parser.add_argument(
        "--migrate", action="store_true", help="give keys of earlier versions the names that they have now"
    )
    arguments = parser.parse_args()
    if arguments.migrate:
        if arguments.recipe:
            parser.error("--migrate takes no recipe: run it first, then set the recipe")
        print("\n".join(migrate(PARAMS)))
        return
    if not arguments.recipe:
        for name in names():
            print(docstring(name), end="\n\n")
        return
    texts = {key for key, value in leaves(params.read(PARAMS)) if isinstance(value, str)}
    values = dict(leaves(read(arguments.recipe))) | dict(parse(change, texts) for change in arguments.changes)
    for line in apply(values, PARAMS):
        print(line)


def names() -> list[str]:
    """The recipes there are, the sample first."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name != "sample", name))


def read(name: str) -> dict:
    """A recipe as nested values, shaped as params.yaml."""
    if name not in names():
        raise UserError(f"there is no recipe {name}; there are: {', '.join(names())}")
    return params.read(FOLDER / f"{name}.yaml")


def docstring(name: str) -> str:
    """The comment on top of a recipe: its command, what it costs, what it scores."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return "\n".join([name, *(f" {line.removeprefix('#')}" for line in comment)])


def leaves(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested values as (dotted key, value)."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def parse(change: str, texts: Container[str]) -> tuple[str, object]:
    """`key=value`; of a key in `texts` the value is text as it stands, else YAML, and a mapping wants its braces."""
    key, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"{change}: write key=value, like train.epochs=30")
    if key in texts:
        return key, text
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError:
        return key, text
    return key, text if isinstance(value, dict) and not text.lstrip().startswith("{") else value


def apply(values: dict[str, object], path: Path) -> list[str]:
    """Write `values` (by dotted key) into the params file; returns a line per change.

    Raises:
        UserError: the result would not be right; the file is then as it was.
    """
    params.read(path)  # the plain message for a file that is missing or broken
    yaml = YAML()
    yaml.width = 4096  # no line is broken anew
    yaml.preserve_quotes = True
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = []
    for key, value in values.items():
        *sections, last = key.split(".")
        section = document
        for name in sections:
            section = section.get(name)
            if not isinstance(section, CommentedMap):
                raise UserError(f"{key} is not a known key: {path} has no section {'.'.join(sections)}")
        if last not in section or section[last] != value:
            changes.append(f"{key}: {section.get(last)} → {value}")
            section[last] = value
            if last in section.ca.items:  # a long value before this one may have moved the comment
                section.ca.items[last][2].column = COMMENTS
    text = io.StringIO()
    yaml.dump(document, text)
    write(path, text.getvalue())
    return changes or [f"{path} was set so already"]


def migrate(path: Path) -> list[str]:
    """Give keys of earlier versions the names that they have now; returns a line per key.

    Raises:
        UserError: the result would not be right; the file is then as it was.
    """
    params.read(path)
    text, moved = migration.migrate(path.read_text(encoding="utf-8"), all_params.Params.MOVED)
    if moved:
        write(path, text)
    return moved or [f"{path} has no key of an earlier version"]


def write(path: Path, text: str) -> None:
    """Put a checked text in the place of the params file."""
    checked = params.check(all_params.Params, YAML(typ="safe").load(text), path)
    source_place.refuse_outputs(checked.fetch.source, workspace.main_root())
    with stage.replacing(path, folder=False) as target:
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    stage.run(main)
