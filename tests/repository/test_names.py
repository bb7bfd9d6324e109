"""Files and definitions have the field's terms; names that were private to this project do not come back."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import import_graph
import pytest

from plantdoc.core import git

ROOT = import_graph.ROOT
# Of a file without its suffix, or of a class, function, constant or attribute; case and outer underscores do not count.
# The keys of params.yaml keep their names, since `-S` and old experiments have them.
INSTEAD = {
    "adrift": "outage",
    "answer": "response or predict",
    "asker": "client",
    "bar": "progress_bar",
    "board": "progress_display",
    "card": "model_card",
    "desk": "ec2_cli",
    "dotted": "flatten",
    "gate": "admission or quality_gate",
    "goods": "uploads",
    "ground": "launch_config or context",
    "group": "shard_group, security_group and so on",
    "guard": "processes",
    "handover": "uploads",
    "judged": "evaluated_repo",
    "leaf": "leaf_shape",
    "leash": "child_processes",
    "ledger": "reconcile",
    "leftovers": "cleanup",
    "light": "fake_training, illuminate and so on",
    "machine": "instance or worker",
    "notice": "spot_notice",
    "ordeal": "ec2_faults",
    "overlays": "wandb_tables",
    "paint": "leaf_texture",
    "painted": "coloured_pictures",
    "parcel": "lambda_zip",
    "perceptual": "phash",
    "persistence": "retry",
    "photo": "uploaded_image",
    "place": "aws_context, position and so on",
    "places": "positions",
    "pool": "scheduler",
    "probes": "perturbations",
    "rare": "prior_class_logits",
    "ready": "what has been done",
    "screen": "console",
    "square": "make_example",
    "squares": "examples",
    "standing": "trial_result or endpoint_config",
    "standings": "trial_results",
    "stored": "dvc_outputs",
    "task": "example_task",
    "told": "summary",
    "trials": "finished_experiments",
    "trouble": "outages",
    "varied": "with_mosaic",
    "ways": "inference_paths",
    "word_on": "status",
}
# In these files the word is the field's own.
MEANT = {
    ("scripts/doctor.py", "READY"),  # a state that is printed
    ("src/plantdoc/core/cost.py", "machine"),  # the computer, also where it is none of EC2's
    ("src/plantdoc/report/costs.py", "machine"),
    ("src/plantdoc/ec2/launch_config.py", "group"),  # AWS's security group
    ("src/plantdoc/augment/beam/pipeline.py", "group"),  # Beam's key of a GroupByKey
    ("tests/support/parallel_jobs.py", "square"),  # a number's
    ("tests/fetch/test_other_formats.py", "task"),  # Label Studio's
}


@functools.cache
def tracked() -> tuple[str, ...]:
    listed = git.text("ls-files", "-z", "--cached", "--others", "--exclude-standard", root=ROOT).split("\0")
    return tuple(name for name in listed if name and (ROOT / name).is_file())


def may_define(text: str) -> bool:
    """Whether a line could define such a name: parsing every file would take seconds."""
    found = re.findall(r"(?m)^ *(?:async def |def |class )?([\w, ]+?) *[:=(]", text.lower())
    return any(word.strip("_ ") in INSTEAD for line in found for word in line.split(","))


def definitions(node: ast.AST) -> Iterator[str]:
    """Classes and functions at any depth, and what is assigned in a module or in a class."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler):
            continue
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child.name
        if isinstance(node, ast.Module | ast.ClassDef) and isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from (name.id for each in targets for name in ast.walk(each) if isinstance(name, ast.Name))
        yield from definitions(child)


def test_no_file_has_a_private_name():
    found = {name: INSTEAD[stem] for name in tracked() if (stem := PurePath(name).stem.strip("_").lower()) in INSTEAD}
    assert found == {}, "say instead"


def test_no_definition_has_a_private_name():
    found = {
        (name, defined): INSTEAD[plain]
        for name in tracked()
        if name.endswith(".py") and may_define((ROOT / name).read_text(encoding="utf-8"))
        for defined in definitions(import_graph.tree(ROOT / name))
        if (plain := defined.strip("_").lower()) in INSTEAD
    }
    assert {key: instead for key, instead in found.items() if key not in MEANT} == {}, "say instead"
    assert found.keys() >= MEANT, "an exception that is none any more"


BENCHMARKS = {path.stem: path for path in sorted(ROOT.glob("benchmarks/*.py"))}
OURS = {"plantdoc", *(path.stem for path in ROOT.glob("src/*.py"))}


@pytest.mark.parametrize("path", BENCHMARKS.values(), ids=BENCHMARKS)
def test_a_benchmark_finds_src_by_itself(path: Path):
    """Not through `sys.path` as another module has left it."""
    for statement in import_graph.tree(path).body:
        if ast.unparse(statement).startswith("sys.path.insert(0, ") and "/ 'src')" in ast.unparse(statement):
            return
        names = [each.name for each in statement.names] if isinstance(statement, ast.Import) else []
        names += [statement.module] if isinstance(statement, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & OURS


def test_benchmarks_import_each_other_without_a_circle():
    graph = {name: set(import_graph.imports(path)) & BENCHMARKS.keys() for name, path in BENCHMARKS.items()}
    graphlib.TopologicalSorter(graph).prepare()
