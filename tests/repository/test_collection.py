"""Collecting tests is fast: no test imports, at its top, what takes seconds to start."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import import_graph

TESTS = Path(__file__).resolve().parents[1]
SLOW_TO_START = {"tensorflow", "keras", "keras_cv", "apache_beam", "sagemaker", "gradio", "dvclive"}
imports = functools.cache(lambda path: set(import_graph.imports(path, at_import=True)))


@functools.cache
def ours() -> dict[str, Path]:
    """Modules that tests import by name: those of tests/support/, src/, scripts/ and benchmarks/."""
    folders = (import_graph.ROOT / "benchmarks", import_graph.ROOT / "scripts", TESTS / "support")
    return {path.stem: path for folder in folders for path in folder.glob("*.py")} | import_graph.modules()


def loaded(start: Path) -> Iterator[Path]:
    """`start` and all our files that importing it runs."""
    seen, todo = {start}, [start]
    while todo:
        path = todo.pop()
        yield path
        new = {ours()[name] for name in imports(path) if name in ours()} - seen
        seen |= new
        todo += new


def test_nothing_slow_is_imported_at_the_top():
    found = {
        f"{test.relative_to(import_graph.ROOT)} leads to {path.relative_to(import_graph.ROOT)}, which imports {name}"
        for test in TESTS.rglob("*.py")
        for path in loaded(test)
        for name in imports(path)
        if name.partition(".")[0] in SLOW_TO_START
    }
    assert not found, "import it inside a function or a fixture; conftest.py has `tf` and `keras_cv`"
