"""Every benchmark says how it is run, and every file of figures has what the pages of figures read."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [path for path in sorted(ROOT.glob("benchmarks/*.py")) if "\ndef parse()" in path.read_text()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_help_names_the_command_and_starts_nothing(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    monkeypatch.setattr(sys, "argv", [str(command), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(command))["parse"]()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {command.name}") and f"python benchmarks/{command.name}" in said


@pytest.mark.parametrize("file", sorted(ROOT.glob("results/benchmarks/*.json")), ids=lambda path: path.stem)
def test_figures_name_their_command_their_machine_and_the_targets(file):
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["command"].startswith(f"python benchmarks/{file.stem}.py")
    assert {"date", "machine", "python", "tensorflow"} <= set(found["about"])
    assert found["rows"] and all(set(row) == set(found["rows"][0]) for row in found["rows"])
    for target in found["targets"]:
        assert (target["at_least"] is None) != (target["at_most"] is None)
        bound = target["at_least"] if target["at_most"] is None else target["at_most"]
        assert target["met"] == (
            target["measured"] >= bound if target["at_most"] is None else target["measured"] <= bound
        )
