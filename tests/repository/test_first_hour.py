"""docs/first-hour-on-aws.md: its lines of the doctor are the doctor's, its figures those of the price tables.

Its commands, links and params are tried by test_readme.py; here some are run in order.
"""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import fake_aws
import fake_repo
import pytest
import script_runner
from import_graph import ROOT
from ruamel.yaml import YAML

from plantdoc.aws import ec2_prices
from plantdoc.ec2 import reaper
from plantdoc.sagemaker import sagemaker_prices

PAGE = (ROOT / "docs/first-hour-on-aws.md").read_text(encoding="utf-8")
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
QUARTER = 15 * 60  # seconds between two looks of the reaper


def rows(title: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    found = re.search(r"\n(\|.*?)\n\n", PAGE[PAGE.index(title) :], re.DOTALL)[1].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found]


def test_lines_of_the_doctor_are_all_explained_and_no_others():
    doctor = runpy.run_path(str(ROOT / "scripts/doctor.py"))
    asked = [name for name, _, jobs in doctor["CHECKS"] if "aws" in jobs]
    assert [re.sub("`", "", row[0]) for row in rows("## What the doctor asks")] == asked


def test_steps_and_commands_are_in_the_same_order():
    block = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
    place = -1
    for row in rows("## In order"):
        words = set(re.sub("[`…]", "", row[1]).split())
        place = next((n for n, line in enumerate(block) if n > place and words <= set(line.split())), -1)
        assert place >= 0, row
    assert len(rows("## In order")) == 10


def test_figures_are_those_of_the_tables():
    longest = (reaper.LONGEST + reaper.GRACE + QUARTER) / 3600
    hour = ec2_prices.TABLE["g5.xlarge"]
    assert f"live for {longest:.1f} hours" in PAGE
    assert f"${longest * hour:.0f} by then" in PAGE
    attempts = PARAMS["runner"]["max_attempts"]
    assert f"`runner.max_attempts` = {attempts}" in PAGE and f"${attempts * longest * hour:.0f}." in PAGE
    assert f"a g5.xlarge on demand: ${hour:.2f} an hour" in PAGE
    assert f"a t3.large: ${ec2_prices.TABLE['t3.large'] / 4:.2f}" in PAGE
    kind, most = PARAMS["serve"]["instance_type"], PARAMS["serve"]["max_instances"]
    machine = sagemaker_prices.TABLE[kind]
    assert f"${machine * 24:.2f} a day for each {kind}" in PAGE
    assert (
        f"`serve.max_instances` = {most} of {kind} for a month of 730 hours are\n${most * 730 * machine:.0f}," in PAGE
    )
    assert f"${sagemaker_prices.serverless(3072, 1, 0):.5f} a second of work at 3072 MB" in PAGE
    assert f"{ec2_prices.TABLE_DATE}" == sagemaker_prices.TABLE_DATE == "2025-06" and "June 2025" in PAGE


@pytest.mark.full
def test_the_first_steps_on_a_fresh_account_and_the_last(tmp_path, monkeypatch):
    made = fake_repo.make(tmp_path / "made", serve__memory_mb=3072)
    folder = Path(shutil.copytree(made, tmp_path / "repository", symlinks=True))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    given = ("--bucket", "my-leaves", "--region", "eu-central-1", "--email", "me@example.org")
    with fake_aws.running() as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)

        def run(*words: str, code: int = 0) -> str:
            done = script_runner.run(folder, "python", *words, check=False)
            assert done.returncode == code, done.stdout
            return done.stdout

        assert "not ready for aws: stack, bucket" in run("scripts/doctor.py", "aws", code=1)
        assert "would change the stack" in run("scripts/aws.py", "create", *given, "--dry-run")
        said = run("scripts/aws.py", "create", *given)
        assert "CREATE_COMPLETE" in said and "the DVC remote is now s3://my-leaves/dvc" in said
        # The stand-in gives no outputs to a stack that a change set has made.
        aws.client("cloudformation").delete_stack(StackName="plant-disease-my-leaves")
        aws.make_stack("my-leaves")
        said = run("scripts/doctor.py", "aws")
        assert said.endswith("\nready for aws\n") and re.search("^not known +capacity", said, re.MULTILINE)
        said = run("scripts/aws.py", "delete", "--force", "--dry-run")
        assert "would delete the stack plant-disease-my-leaves and the bucket my-leaves" in said
        assert "DELETE_COMPLETE" in run("scripts/aws.py", "delete", "--force")
