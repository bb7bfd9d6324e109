"""What a new key in a section and its model runs again, by the real deps and params of dvc.yaml."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import fake_repo
import pytest
import small_repo
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

STAGES = ("fetch", "augment", "train", "evaluate", "deploy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished repository whose stages take no time, but have all their deps."""
    folder = fake_repo.finished(tmp_path_factory.mktemp("keys") / "repository")
    yaml = YAML()
    yaml.width = 200
    pipeline, whole = yaml.load(folder / "dvc.yaml"), yaml.load(small_repo.ROOT / "dvc.yaml")
    for name in STAGES:
        pipeline["stages"][name]["deps"] = whole["stages"][name]["deps"]
    yaml.dump(pipeline, folder / "dvc.yaml")
    small_repo.run(folder, "dvc", "commit", "--force")
    return folder


@pytest.fixture
def repository(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "repository", symlinks=True)


def add_key(folder: Path, section: str) -> None:
    """A new key in a section, in params.yaml and in the section's model."""
    (model,), values = (folder / "src/plantdoc").rglob(f"{section}_params.py"), folder / "params.yaml"
    model.write_text(re.sub(rf"(?m)^class {section.title()}\(.*$", r"\g<0>\n    added: int\n", model.read_text()))
    values.write_text(re.sub(rf"(?m)^{section}:.*$", r"\g<0>\n  added: 1", values.read_text()))


def test_a_key_of_serve_and_runner_changes_no_stage(repository):
    for section in ("serve", "runner"):
        add_key(repository, section)
    assert small_repo.run(repository, "dvc", "status").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.full
def test_another_size_is_no_earlier_run(repository, tmp_path):
    """DVC's run cache has a run with everything equal but for a key called `size`."""
    small_repo.set_params(repository, model__size="s")
    small_repo.run(repository, "dvc", "repro", "train", TINY_LOG=str(tmp_path / "log"))
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == ["train"]


@pytest.mark.parametrize("section", ["fetch", "evaluate"])
def test_key_of_a_stage_reruns_only_it_when_outputs_are_equal(repository, tmp_path, section):
    add_key(repository, section)
    small_repo.run(repository, "dvc", "repro", TINY_LOG=str(tmp_path / "log"))
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == [section]
