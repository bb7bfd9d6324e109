"""The page on costs has the numbers that the code computes."""

from __future__ import annotations

import re

import ec2_commands
import pytest
from import_graph import ROOT

from plantdoc.aws import ec2_prices
from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.ec2 import cost_bounds, reaper
from plantdoc.settings import runner_params

PAGE = (ROOT / "docs/cost_bounds.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runner():
    return params.load(runner_params.Params, ROOT / "params.yaml").runner


def test_the_table_is_that_of_the_code(runner):
    types = re.findall(r"^\| ([a-z0-9]+\.\w+) \|", PAGE, re.MULTILINE)
    assert set(runner.instance_types) <= set(types)
    assert cost_bounds.table(types, runner.disk_gb) in PAGE


def test_the_sentence_on_the_defaults_is_true(runner):
    default = cost_bounds.worst_case(runner.instance_types[0], runner.disk_gb)
    text = (
        f"With the defaults ({default.instance_type}, one machine at a time) that is ${default.one_machine:.0f} for "
        f"one forgotten machine and ${default.month:.0f} for a month."
    )
    assert text in " ".join(PAGE.split())
    minutes = round(cost_bounds.longest_life() * 60)
    assert f"until {minutes // 60} h and {minutes % 60} minutes after its launch" in " ".join(PAGE.split())
    assert f"machines with a disk of {runner.disk_gb} GB" in " ".join(PAGE.split())


def test_a_machine_lives_as_long_as_the_reaper_lets_it():
    template = (ROOT / "infra/base.yaml").read_text(encoding="utf-8")
    (minutes,) = re.findall(r"ScheduleExpression: rate\((\d+) minutes\)", template)
    assert int(minutes) * 60 == cost_bounds.REAPER_PERIOD
    assert cost_bounds.longest_life() * 3600 == reaper.LONGEST + reaper.GRACE + int(minutes) * 60
    (longest,) = (each.le for each in runner_params.Runner.model_fields["max_hours"].metadata if hasattr(each, "le"))
    assert longest * 3600 < reaper.LONGEST, "the reaper ends no machine that may still work"


def test_an_hour_has_the_machine_and_its_disk():
    found = cost_bounds.worst_case("g5.xlarge", 720)
    assert found.hour == pytest.approx(ec2_prices.TABLE["g5.xlarge"] + 720 * 0.08 / 720)
    assert found.month == pytest.approx(720 * found.hour)


def test_the_command_prints_it_for_the_params_without_aws(runner, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    ec2_commands.program().main(["bounds"])
    assert capsys.readouterr().out == cost_bounds.table(runner.instance_types, runner.disk_gb) + "\n"


def test_a_type_without_a_price_is_named():
    with pytest.raises(UserError, match=r"has no x9\.huge: add it"):
        cost_bounds.worst_case("x9.huge", 100)
