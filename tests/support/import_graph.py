"""What a stage can reach, computed from the code: our files by imports, the params it reads, the data it names.

A file is reached by any import of it, also inside a function, also of a package on its way. A file of ours that is
started as a process or imported by name is reached too: a text that is exactly its dotted name (`plantdoc.check`) or
the end of its path (`src/check.py`, `check.py`) counts. Imports under `if TYPE_CHECKING:` run never and do not count.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from plantdoc.settings.all_params import Params

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
STAGES = ("fetch", "augment", "train", "evaluate", "deploy")


@functools.cache
def modules() -> dict[str, Path]:
    """Our modules: dotted name as seen from src/ → file."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def walk(node: ast.AST, *, at_import: bool = False) -> Iterator[ast.AST]:
    """All nodes below `node`, without those under TYPE_CHECKING; `at_import`: without the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from walk(child, at_import=at_import)


def imports(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Dotted names that a file imports, ours and others'; `from a import b` gives `a` and `a.b`."""
    package = path.relative_to(SRC).parent.parts if path.is_relative_to(SRC) else ()
    for node in walk(tree(path), at_import=at_import):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join((*base, *([node.module] if node.module else [])))
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def named(path: Path) -> Iterator[str]:
    """Our modules that a file names in a text, to start or import them."""
    texts = set(texts_of(path))
    for name, file in modules().items():
        whole = file.relative_to(ROOT).as_posix()
        if ("." in name and name in texts) or any(
            text.endswith(".py") and text != "__init__.py" and (whole == text or whole.endswith(f"/{text}"))
            for text in texts
        ):
            yield name


def texts_of(path: Path) -> Iterator[str]:
    for node in walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def next_to(path: Path, *, at_import: bool = False) -> set[Path]:
    """Our files that a file leads to directly."""
    names = {*imports(path, at_import=at_import), *([] if at_import else named(path))}
    # Importing a.b.c runs a and a.b first.
    names = {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 2)}
    return {modules()[name] for name in names if name in modules()}


def reachable(start: Path, *, at_import: bool = False) -> set[Path]:
    """`start` and all our files it leads to."""
    found, todo = set(), [start]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += next_to(path, at_import=at_import)
    return found


def room(path: Path) -> str | None:
    """The room of a file of the library, like `fetch`; None for a stage and for src/plantdoc/__init__.py."""
    parts = path.relative_to(SRC).parts
    return parts[1] if parts[0] == "plantdoc" and len(parts) > 2 else None


def rooms(stage: str) -> list[str]:
    """The rooms of which a stage reaches a file."""
    return sorted({name for path in reachable(SRC / f"{stage}.py") if (name := room(path))})


def code_deps(stage: str) -> list[str]:
    """The code among a stage's deps, as dvc.yaml should list it: the stage itself first."""
    return [f"src/{stage}.py", *(f"src/plantdoc/{name}" for name in rooms(stage))]


def unreached(stage: str) -> dict[str, int]:
    """Files of a stage's rooms that it does not reach → their lines of code: a change in them runs it needlessly."""
    reached, listed = reachable(SRC / f"{stage}.py"), set(rooms(stage))
    files = [path for path in modules().values() if room(path) in listed and path not in reached]
    return {path.relative_to(SRC / "plantdoc").as_posix(): lines_of_code(path) for path in files}


def lines_of_code(path: Path) -> int:
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


def arrows() -> dict[str, set[str]]:
    """Room → the rooms that its files import."""
    found: dict[str, set[str]] = {}
    for path in modules().values():
        if name := room(path):
            found.setdefault(name, set()).update(other for file in next_to(path) if (other := room(file)))
    return {name: others - {name} for name, others in found.items()}


def params_read(stage: str) -> set[str]:
    """The params that a stage's code reads, as dotted keys.

    Read is what follows a name that holds the `Params`: `settings.seed`, `settings.train.epochs`. A section handed on
    whole (`square(settings.augment)`) counts with all its keys. `runner` says how and where, not what, and does not.
    """
    found = set()
    for path in reachable(SRC / f"{stage}.py"):
        holders = set(names_of_params(path))
        nodes = [node for node in walk(tree(path)) if isinstance(node, ast.Attribute)]
        inner = {id(node.value) for node in nodes}
        for node in nodes:
            key = module_name(node, holders)
            if key and id(node) not in inner:
                found |= expanded(key)
    return {key for key in found if not key.startswith("runner.")}


def names_of_params(path: Path) -> Iterator[str]:
    """Names that hold the whole `Params` in a file."""
    for node in walk(tree(path)):
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("params.load("):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.arg) and node.annotation and ast.unparse(node.annotation).endswith("Params"):
            yield node.arg


def module_name(node: ast.Attribute, holders: set[str]) -> str:
    """`settings.train.epochs` → `train.epochs`; "" for what is no param."""
    text = ast.unparse(node)
    for holder in holders:
        keys = text.removeprefix(f"{holder}.").split(".")
        if text.startswith(f"{holder}.") and keys[0] in Params.model_fields:
            return ".".join(keys[:2])
    return ""


def sections() -> dict[str, set[str]]:
    """Sections of params.yaml → their keys."""
    types = {name: field.annotation for name, field in Params.model_fields.items()}
    return {name: set(kind.model_fields) for name, kind in types.items() if hasattr(kind, "model_fields")}


def expanded(key: str) -> set[str]:
    """A key → itself; a section, or a call on one (`train.model_dump`) → all its keys."""
    section, _, name = key.partition(".")
    if section not in sections():
        return {section}
    return {key} if name in sections()[section] else {f"{section}.{one}" for one in sections()[section]}
