"""dvc.yaml says what the code does: a dep too few is a stale result, a dep too many a needless run."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import PurePosixPath

import import_graph
import pytest
from import_graph import ROOT, SRC, STAGES

from plantdoc.core import params

# Modules that a worker process imports, or a command that must answer at once.
WITHOUT_TENSORFLOW = [
    "fetch",
    "augment",
    "plantdoc.coco.dataset",
    "plantdoc.visualize.drawing",
    "plantdoc.settings.all_params",
    "plantdoc.coco.metrics",
]
FILES = {"infra/container/requirements.txt"}  # of ours, no code, that go into an output
DVC_YAML = params.read(ROOT / "dvc.yaml")


def paths(entries: list) -> list[str]:
    """The paths of `outs`, `metrics` or `plots`, whether or not they carry options."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def outputs(stage: str) -> list[str]:
    about = DVC_YAML["stages"][stage]
    return [path for kind in ("outs", "metrics", "plots") for path in paths(about.get(kind, []))]


def within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def test_the_stages_are_the_five_in_order():
    assert tuple(DVC_YAML["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_its_script_without_flags_and_says_what_it_does(stage):
    assert DVC_YAML["stages"][stage]["cmd"] == f"python src/{stage}.py"
    assert DVC_YAML["stages"][stage]["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_rooms_that_the_stage_reaches_and_nothing_else(stage):
    listed = [dep for dep in DVC_YAML["stages"][stage]["deps"] if within(dep, "src")]
    wanted = import_graph.code_deps(stage)
    block = "\n".join(f"      - {path}" for path in wanted)
    assert listed == wanted, f"dvc.yaml, stage {stage}: the code among its deps should be\n{block}"


def test_dvc_yaml_lists_at_most_40_lines_of_code():
    assert sum(within(dep, "src") for stage in DVC_YAML["stages"].values() for dep in stage["deps"]) <= 40


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_lists_without_reaching_it_is_small(stage):
    found = import_graph.unreached(stage)
    print(f"{stage}: {sum(found.values())} lines in {len(found)} files that it does not reach", found)  # shown by -rP
    if stage == "train":
        assert sum(found.values()) <= 100, f"a change in these trains anew for nothing: {found}"


def test_rooms_import_each_other_in_no_circle():
    try:
        tuple(graphlib.TopologicalSorter(import_graph.arrows()).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"rooms of src/plantdoc import each other in a circle: {' → '.join(error.args[1])}")


def test_the_library_itself_holds_no_code():
    # No stage lists src/plantdoc/__init__.py.
    (docstring,) = import_graph.tree(SRC / "plantdoc/__init__.py").body
    assert isinstance(docstring, ast.Expr)


@pytest.mark.parametrize("stage", STAGES)
def test_data_deps_are_outputs_of_earlier_stages(stage):
    earlier = [path for name in STAGES[: STAGES.index(stage)] for path in outputs(name)]
    for dep in DVC_YAML["stages"][stage]["deps"]:
        if not within(dep, "src") and dep not in FILES:
            assert dep in earlier, f"dvc.yaml, stage {stage}: no earlier stage makes {dep}"


@pytest.mark.parametrize("stage", STAGES)
def test_data_deps_are_what_the_stage_names_and_nothing_else(stage):
    others = [path for name in STAGES if name != stage for path in outputs(name)]
    texts = {text for path in import_graph.reachable(SRC / f"{stage}.py") for text in import_graph.texts_of(path)}
    named = {out for out in others for text in texts if within(text, out)}
    named |= FILES & texts
    listed = {dep for dep in DVC_YAML["stages"][stage]["deps"] if not within(dep, "src")}
    assert listed == named, f"dvc.yaml, stage {stage}: its data deps should be {sorted(named)}"


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_what_the_stage_reads_and_nothing_else(stage):
    listed = set()
    for key in DVC_YAML["stages"][stage].get("params", []):
        listed |= import_graph.expanded(key)
    wanted = import_graph.params_read(stage)
    assert listed == wanted, (
        f"dvc.yaml, stage {stage}: params lacks {sorted(wanted - listed)}, has too many {sorted(listed - wanted)}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reaches_the_params_model_of_its_own_sections_alone(stage):
    """A key of another stage, of `serve` or of `runner` is then no change of its code; `model` is of the network."""
    found = {path.stem for path in import_graph.reachable(SRC / f"{stage}.py") if path.stem.endswith("_params")}
    network = {"model_params"} if stage in ("train", "evaluate", "deploy") else set()
    assert found == {f"{stage}_params"} | network


@pytest.mark.parametrize("stage", STAGES)
def test_params_that_the_run_cache_overlooks_are_tracked_by_name(stage):
    """DVC leaves out what is called like the size of a file, wherever it stands, when it looks for an earlier run."""
    sections = import_graph.sections()
    tracked = DVC_YAML["stages"][stage]["params"]
    overlooked = [f"{key}.{name}" for key in tracked for name in ("size", "nfiles") if name in sections.get(key, ())]
    assert set(overlooked) <= set(tracked)


def test_what_changes_no_result_is_tracked_by_no_stage():
    tracked = {key.partition(".")[0] for about in DVC_YAML["stages"].values() for key in about["params"]}
    assert set(import_graph.sections()) - tracked == {"serve", "runner"}


def test_every_file_of_the_library_is_used_by_a_stage_or_a_script():
    starts = [SRC / f"{stage}.py" for stage in STAGES] + sorted((ROOT / "scripts").glob("*.py"))
    used = {path for start in starts for path in import_graph.reachable(start)}
    unused = {path.relative_to(ROOT).as_posix() for path in set(import_graph.modules().values()) - used}
    assert not unused, "remove them, or use them"


def test_every_param_is_used():
    used = {
        node.attr
        for path in import_graph.modules().values()
        for node in ast.walk(import_graph.tree(path))
        if isinstance(node, ast.Attribute)
    }
    for section, keys in import_graph.sections().items():
        assert keys <= used, f"params.yaml: nothing reads {section}.{sorted(keys - used)}"


def test_outputs_do_not_overlap():
    every = [path for stage in STAGES for path in outputs(stage)]
    for one in every:
        assert [other for other in every if within(one, other)] == [one]


@pytest.mark.parametrize("stage", STAGES)
def test_only_metrics_and_plots_are_kept_from_the_cache(stage):
    about = DVC_YAML["stages"][stage]
    # DVC's run cache is silently off for a stage with `cache: false` under outs.
    assert all(isinstance(entry, str) for entry in about["outs"])
    for entry in about.get("metrics", []) + about.get("plots", []):
        assert next(iter(entry.values()))["cache"] is False, f"{entry} belongs in git"


def test_what_the_clock_says_is_a_metric_of_no_stage():
    assert DVC_YAML["metrics"] == ["results/cost.json"]
    assert not any(within("results/cost.json", path) for stage in STAGES for path in outputs(stage))


def test_cached_outputs_are_ignored_by_git():
    for stage in STAGES:
        for path in map(PurePosixPath, paths(DVC_YAML["stages"][stage]["outs"])):
            ignored = (ROOT / path.parent / ".gitignore").read_text().splitlines()
            assert f"/{path.name}" in ignored, f"{path.parent}/.gitignore lacks /{path.name}, which DVC would add"


def test_no_library_module_imports_a_stage():
    stages = {SRC / f"{stage}.py" for stage in STAGES}
    library = {name: path for name, path in import_graph.modules().items() if name.startswith("plantdoc")}
    assert {name for name, path in library.items() if import_graph.next_to(path) & stages} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_another(stage):
    others = {SRC / f"{name}.py" for name in STAGES if name != stage}
    assert not import_graph.reachable(SRC / f"{stage}.py") & others


def importers_of(*libraries: str) -> list[str]:
    """Our modules that import one of `libraries`, wherever in the file."""
    found = import_graph.modules().items()
    return [name for name, path in found if any(i.split(".")[0] in libraries for i in import_graph.imports(path))]


# Modules that need Beam cannot be imported here: it is not in requirements.txt.
AWS = {*importers_of("boto3", "botocore", "s3fs", "sagemaker")} - {*importers_of("apache_beam")}


def test_importing_these_does_not_import_tensorflow():
    code = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if found := {"tensorflow", "keras", "keras_cv"} & set(sys.modules):
        sys.exit(f"importing {name} imports {sorted(found)}")
"""
    command = [sys.executable, "-c", code, *sorted({*WITHOUT_TENSORFLOW, *AWS})]
    done = subprocess.run(command, env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("library", "door"), [("keras_cv", "plantdoc.detector.kerascv"), ("apache_beam", "plantdoc.augment.beam")]
)
def test_these_have_one_door(library, door):
    assert {name[: len(door)] for name in importers_of(library)} == {door}


def test_files_started_as_processes_and_imports_in_functions_are_found(tmp_path, monkeypatch):
    files = {
        "plantdoc/__init__.py": "",
        "plantdoc/core/a.py": "def f():\n    from plantdoc.coco import b\n",
        "plantdoc/coco/b.py": "import plantdoc.fetch.formats\n",
        "plantdoc/fetch/__init__.py": "",
        "plantdoc/fetch/formats/__init__.py": "from .raw import read\nfrom . import voc\n",
        "plantdoc/fetch/formats/raw.py": "",
        "plantdoc/fetch/formats/voc.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from plantdoc.deploy import e\n",
        "plantdoc/repo/c.py": "'''Docs that name plantdoc.deploy.e and e.py are no start.'''\n"
        "import plantdoc.aws.d as other\n",
        "plantdoc/aws/d.py": "",
        "plantdoc/aws/not_reached.py": "1\n\n2\n",
        "plantdoc/deploy/e.py": "",
        "fetch.py": "import sys\nfrom plantdoc.core.a import f\nRUN = [sys.executable, '-m', 'plantdoc.repo.c']\n",
        "train.py": "from plantdoc.core import stage\nCHECK = 'src/check.py'\n",
        "check.py": "import plantdoc.coco.b\n",
    }
    for name, text in files.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(text)
    monkeypatch.setattr(import_graph, "ROOT", tmp_path)
    monkeypatch.setattr(import_graph, "SRC", tmp_path / "src")
    import_graph.modules.cache_clear()
    try:
        rooms = ["aws", "coco", "core", "fetch", "repo"]
        assert import_graph.code_deps("fetch") == ["src/fetch.py", *(f"src/plantdoc/{name}" for name in rooms)]
        assert import_graph.unreached("fetch") == {"aws/not_reached.py": 2}
        assert "src/plantdoc/coco" in import_graph.code_deps("train")
        assert import_graph.arrows()["repo"] == {"aws"} and import_graph.arrows()["fetch"] == set()
    finally:
        import_graph.modules.cache_clear()
