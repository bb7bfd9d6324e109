"""A source inside an output of a stage is refused before DVC deletes it: by every command that could run a stage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import script_runner
import small_repo
from import_graph import ROOT

from plantdoc.core import hashing
from plantdoc.core.errors import UserError
from plantdoc.doctor import checks
from plantdoc.fetch import source_place

INSIDE = [
    "data/raw/mine",
    "data/raw",
    "data/raw/../raw/mine",
    "data/raw/mine.zip",
    "models/bundle",
    "results/fetch/pictures/x",
]
AROUND = ["data", "models", "results", ".", "..", "/"]


@pytest.fixture
def repository(tmp_path) -> Path:
    """The parts of a repository that decide where a source may lie, with pictures in data/raw/mine and data/own."""
    folder = tmp_path / "repository"
    for name in ("data/raw/mine", "data/own"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").write_bytes(name.encode())
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in ("scripts", "src", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def state(folder: Path) -> dict[str, str]:
    files = [path for name in ("params.yaml", "data") for path in sorted((folder / name).rglob("*"))]
    return {str(path): hashing.of_file(path) for path in [folder / "params.yaml", *files] if path.is_file()}


@pytest.mark.parametrize("source", INSIDE)
def test_a_source_in_an_output_is_refused_with_a_place_to_move_it_to(source, repository):
    for spelled in (source, str(repository / source)):
        with pytest.raises(UserError, match=r"which DVC deletes before the stage \w+ runs: move .* to data/own"):
            source_place.refuse_outputs(spelled, repository)


@pytest.mark.parametrize("source", AROUND)
def test_a_source_around_an_output_is_refused(source, repository):
    with pytest.raises(UserError, match=r"contains \w+/\S+, an output of the stage \w+: point it to a folder with"):
        source_place.refuse_outputs(source, repository)


def test_links_and_the_home_folder_are_followed(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(repository / "data/raw/mine")
    for source in ("~/repository/data/raw/mine", "../link", str(tmp_path / "link")):
        with pytest.raises(UserError, match="lies in data/raw, which DVC deletes"):
            source_place.refuse_outputs(source, repository)
    # DVC removes what a link stands for as well, where data/raw itself is one.
    shutil.move(repository / "data/raw", tmp_path / "elsewhere")
    (repository / "data/raw").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="lies in data/raw"):
        source_place.refuse_outputs("../elsewhere/mine", repository)


@pytest.mark.parametrize(
    "source",
    ["data/own", "data/own/2024-05", "data/rawer", "../leaves", "~/leaves", "s3://data/raw", "sample", "plantdoc"],
)
def test_other_places_are_taken(source, repository):
    source_place.refuse_outputs(source, repository)


def test_no_stage_writes_to_the_place_that_is_recommended_and_git_ignores_it():
    source_place.refuse_outputs(source_place.OWN, ROOT)
    assert small_repo.git(ROOT, "check-ignore", f"{source_place.OWN}/a.jpg").strip() == f"{source_place.OWN}/a.jpg"


@pytest.mark.parametrize("source", ["data/raw/mine", "data", "."])
def test_every_command_refuses_it_and_leaves_everything_as_it_is(source, repository, monkeypatch):
    before = state(repository)
    run = script_runner.run
    done = run(repository, "python", "scripts/recipe.py", "sample", f"fetch.source={source}", check=False)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith(f"recipe: fetch.source = {source!r} ")
    done = run(repository, "python", "scripts/check_data.py", source, check=False)
    assert done.returncode == 1 and done.stdout.startswith("check_data: fetch.source = ")
    assert state(repository) == before
    # Written into params.yaml by hand.
    small_repo.set_params(repository, fetch__source=source)
    before = state(repository)
    (repository / ".git").mkdir()
    small_repo.git(repository, "init", "-q")
    done = run(repository, "python", "scripts/repro.py", check=False)
    assert done.returncode == 1 and done.stdout.startswith(f"repro: fetch.source = {source!r} ")
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"^fetch\.source = "):
        patch.chdir(repository)
        checks.params("repro")
    assert state(repository) == before
