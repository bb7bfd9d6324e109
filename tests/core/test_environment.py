"""The environment variables of the project: typed, read in one place, and in the table of docs/environment.md."""

from __future__ import annotations

import dataclasses
import re

import pytest

from plantdoc.core import environment
from plantdoc.core.errors import UserError
from plantdoc.worker.job import Job

NAME = re.compile(r"PLANTDOC_[A-Z0-9_]+")
ALONE = "infra/worker/objects.py"  # runs before plantdoc is there


def test_values_have_the_type_of_their_field(monkeypatch):
    for each in dataclasses.fields(environment.Environment):
        monkeypatch.delenv(environment.variable(each.name), raising=False)
    assert environment.read() == environment.Environment()
    monkeypatch.setenv("PLANTDOC_BEAT", "0.5")
    monkeypatch.setenv("PLANTDOC_ATTEMPT", "3")
    monkeypatch.setenv("PLANTDOC_RUNNER", "local")
    found = environment.read()
    assert (found.beat, found.attempt, found.trains_for_another) == (0.5, 3, True)


@pytest.mark.parametrize(("name", "message"), [("BEAT", "is not a number"), ("ATTEMPT", "is not a whole number")])
def test_a_value_of_a_wrong_kind_is_named(monkeypatch, name, message):
    monkeypatch.setenv(f"PLANTDOC_{name}", "soon")
    with pytest.raises(UserError, match=f"PLANTDOC_{name} = 'soon' {message}: set one, or unset it"):
        environment.read()


def test_an_instance_without_its_variables_is_told_which_one_is_missing(monkeypatch):
    monkeypatch.setenv("PLANTDOC_BUCKET", "b")
    monkeypatch.delenv("PLANTDOC_RUN_ID", raising=False)
    with pytest.raises(UserError, match="PLANTDOC_RUN_ID is not set"):
        Job.from_environment()


def test_the_table_has_every_variable_and_no_other(root):
    read = {environment.variable(each.name) for each in dataclasses.fields(environment.Environment)}
    used = set()
    for folder in ("src", "scripts", "infra"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".py", ".sh", ".yaml"):
                used |= set(NAME.findall(path.read_text()))
    rows = re.findall(r"(?m)^\| (`PLANTDOC_.*?) \|", (root / "docs/environment.md").read_text())
    listed = {name for row in rows for name in NAME.findall(row)}
    assert listed == read | used


def test_no_other_module_reads_them(root):
    reading = re.compile(r"environ(?:\.get\(|\[|\.pop\()f?[\"']PLANTDOC_")
    found = [
        path.relative_to(root).as_posix()
        for folder in ("src", "scripts", "infra")
        for path in (root / folder).rglob("*.py")
        if reading.search(path.read_text())
    ]
    assert found == [ALONE]
