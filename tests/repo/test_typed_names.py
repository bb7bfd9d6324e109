"""Names that a person types: which are taken, and what the scripts say of the others."""

from __future__ import annotations

import pytest
import script_runner
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.repo import names

GOOD = [
    "detector@v1.2.0",
    "main",
    "HEAD~1",
    "HEAD^",
    "main@{1}",
    "origin/größe-1",
    "train:val_map50",
    "train",
    "data/raw",
    "./data/raw",
    "../x",
    "/home/me/x",
    "91f0855",
]
BAD = [
    "",
    "-x",
    "--upload-pack=x",
    "a b",
    "a;b",
    "a$IFS",
    "$(a)",
    "`a`",
    "a|b",
    "a&b",
    "a>b",
    "a\nb",
    "a'b",
    'a"b',
    "*",
    "a\\b",
]


@pytest.mark.parametrize("name", GOOD)
def test_what_is_a_name_is_taken(name):
    assert names.checked(name, "a revision") == name


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_is_said(name):
    with pytest.raises(UserError, match="is not the name of a revision: names have letters"):
        names.checked(name, "a revision")


def test_a_file_that_is_there_may_have_any_name_but_that_of_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my leaves; new", "-x"):
        (tmp_path / name).touch()
    assert names.checked_or_path("my leaves; new", "a bundle") == "my leaves; new"
    with pytest.raises(UserError, match="is not the name of a bundle"):
        names.checked_or_path("-x", "a bundle")


@pytest.mark.parametrize(
    ("script", "words", "what"),
    [
        ("deploy", ["deploy", "detector@v1;reboot"], "a bundle or a version"),
        ("report", ["main;reboot"], "a branch, tag, commit or experiment"),
        ("report", ["main", "$(reboot)"], "a branch, tag, commit or experiment"),
        ("promote", ["train:val_map50;reboot"], "a metric"),
        ("remote", ["pull", "train;reboot"], "a stage or an output"),
        ("remote", ["push", "train", "`reboot`"], "a stage or an output"),
    ],
)
def test_the_scripts_refuse_it_in_one_line(tmp_path, script, words, what):
    path = small_repo.ROOT / f"scripts/{script}.py"
    done = script_runner.run(tmp_path, "python", str(path), *words, check=False)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{script}: {words[-1]!r} is not the name of {what}: ")
