"""dvc.yaml says what the code does: a dep too few is a stale result, a dep too many a needless run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import PurePosixPath

import pytest
import reachable
from reachable import ROOT, SRC, STAGES

from plantdoc import params

# Modules that a worker process imports, or a command that must answer at once.
LIGHT = ["fetch", "augment", "plantdoc.coco", "plantdoc.drawing", "plantdoc.all_params", "plantdoc.scores"]
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
def test_code_deps_are_what_the_stage_can_reach_and_nothing_else(stage):
    listed = [dep for dep in DVC_YAML["stages"][stage]["deps"] if within(dep, "src")]
    wanted = reachable.code_deps(stage)
    block = "\n".join(f"      - {path}" for path in wanted)
    assert listed == wanted, f"dvc.yaml, stage {stage}: the files among its deps should be\n{block}"


@pytest.mark.parametrize("stage", STAGES)
def test_data_deps_are_outputs_of_earlier_stages(stage):
    earlier = [path for name in STAGES[: STAGES.index(stage)] for path in outputs(name)]
    for dep in DVC_YAML["stages"][stage]["deps"]:
        if not within(dep, "src") and dep not in FILES:
            assert dep in earlier, f"dvc.yaml, stage {stage}: no earlier stage makes {dep}"


@pytest.mark.parametrize("stage", STAGES)
def test_data_deps_are_what_the_stage_names_and_nothing_else(stage):
    others = [path for name in STAGES if name != stage for path in outputs(name)]
    texts = {text for path in reachable.reachable(SRC / f"{stage}.py") for text in reachable.texts_of(path)}
    named = {out for out in others for text in texts if within(text, out)}
    named |= FILES & texts
    listed = {dep for dep in DVC_YAML["stages"][stage]["deps"] if not within(dep, "src")}
    assert listed == named, f"dvc.yaml, stage {stage}: its data deps should be {sorted(named)}"


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_what_the_stage_reads_and_nothing_else(stage):
    listed = set()
    for key in DVC_YAML["stages"][stage].get("params", []):
        listed |= reachable.expanded(key)
    wanted = reachable.params_read(stage)
    assert listed == wanted, (
        f"dvc.yaml, stage {stage}: params lacks {sorted(wanted - listed)}, has too many {sorted(listed - wanted)}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reaches_the_params_model_of_its_own_sections_alone(stage):
    """A key of another stage, of `serve` or of `runner` is then no change of its code; `model` is of the network."""
    found = {path.stem for path in reachable.reachable(SRC / f"{stage}.py") if path.stem.endswith("_params")}
    network = {"model_params"} if stage in ("train", "evaluate", "deploy") else set()
    assert found == {f"{stage}_params"} | network


@pytest.mark.parametrize("stage", STAGES)
def test_params_that_the_run_cache_overlooks_are_tracked_by_name(stage):
    """DVC leaves out what is called like the size of a file, wherever it stands, when it looks for an earlier run."""
    sections = reachable.sections()
    tracked = DVC_YAML["stages"][stage]["params"]
    overlooked = [f"{key}.{name}" for key in tracked for name in ("size", "nfiles") if name in sections.get(key, ())]
    assert set(overlooked) <= set(tracked)


def test_what_changes_no_result_is_tracked_by_no_stage():
    tracked = {key.partition(".")[0] for about in DVC_YAML["stages"].values() for key in about["params"]}
    assert set(reachable.sections()) - tracked == {"serve", "runner"}


def test_every_file_of_the_library_is_used_by_a_stage_or_a_script():
    starts = [SRC / f"{stage}.py" for stage in STAGES] + sorted((ROOT / "scripts").glob("*.py"))
    used = {path for start in starts for path in reachable.reachable(start)}
    unused = {path.relative_to(ROOT).as_posix() for path in set(reachable.modules().values()) - used}
    assert not unused, "remove them, or use them"


def test_every_param_is_used():
    used = {
        node.attr
        for path in reachable.modules().values()
        for node in ast.walk(reachable.tree(path))
        if isinstance(node, ast.Attribute)
    }
    for section, keys in reachable.sections().items():
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
    library = {name: path for name, path in reachable.modules().items() if name.startswith("plantdoc")}
    assert {name for name, path in library.items() if reachable.next_to(path) & stages} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_another(stage):
    others = {SRC / f"{name}.py" for name in STAGES if name != stage}
    assert not reachable.reachable(SRC / f"{stage}.py") & others


def importers_of(*libraries: str) -> list[str]:
    """Our modules that import one of `libraries`, wherever in the file."""
    found = reachable.modules().items()
    return [name for name, path in found if any(i.split(".")[0] in libraries for i in reachable.imports(path))]


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
    command = [sys.executable, "-c", code, *sorted({*LIGHT, *AWS})]
    done = subprocess.run(command, env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("library", "door"), [("keras_cv", "plantdoc.kerascv"), ("apache_beam", "plantdoc.beam")])
def test_these_have_one_door(library, door):
    assert {name[: len(door)] for name in importers_of(library)} == {door}


def test_files_started_as_processes_and_imports_in_functions_are_found(tmp_path, monkeypatch):
    (tmp_path / "src" / "plantdoc" / "formats").mkdir(parents=True)
    files = {
        "plantdoc/__init__.py": "",
        "plantdoc/a.py": "def f():\n    from plantdoc import b\n",
        "plantdoc/b.py": "import plantdoc.formats\n",
        "plantdoc/formats/__init__.py": "from .raw import read\nfrom . import voc\n",
        "plantdoc/formats/raw.py": "",
        "plantdoc/formats/voc.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from plantdoc import e\n",
        "plantdoc/c.py": "'''Docs that name plantdoc.e and e.py are no start.'''\nimport plantdoc.d as other\n",
        "plantdoc/d.py": "",
        "plantdoc/e.py": "",
        "fetch.py": "import sys\nfrom plantdoc.a import f\nRUN = [sys.executable, '-m', 'plantdoc.c']\n",
        "train.py": "from plantdoc import stage\nCHECK = 'src/check.py'\n",
        "check.py": "import plantdoc.b\n",
    }
    for name, text in files.items():
        (tmp_path / "src" / name).write_text(text)
    monkeypatch.setattr(reachable, "ROOT", tmp_path)
    monkeypatch.setattr(reachable, "SRC", tmp_path / "src")
    reachable.modules.cache_clear()
    try:
        inside = ["__init__", "a", "b", "c", "d", "formats/__init__", "formats/raw", "formats/voc"]
        assert reachable.code_deps("fetch") == ["src/fetch.py", *(f"src/plantdoc/{name}.py" for name in inside)]
        assert {"src/check.py", "src/plantdoc/b.py"} <= set(reachable.code_deps("train"))
    finally:
        reachable.modules.cache_clear()
