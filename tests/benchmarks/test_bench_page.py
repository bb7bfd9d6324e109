"""The pages of figures show what the files of figures hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import measure  # noqa: E402
import page  # noqa: E402


@pytest.mark.parametrize("name", page.PAGES)
def test_each_figure_on_the_pages_is_that_of_its_file(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- " in text
    assert page.filled(text) == text, "run `python benchmarks/page.py`"


def test_a_page_shows_rows_targets_machine_and_command(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    figures = {
        "command": "python benchmarks/x.py",
        "about": {"date": "2026-01-02", "machine": "a CPU, 2 cores", "tensorflow": "2.0"},
        "rows": [{"side": "ours", "pictures/s": 123.456}, {"side": "theirs", "pictures/s": 0.51234}],
        "targets": [measure.target("times theirs", 2.5, at_least=2), measure.target("bytes", 3.0, at_most=1.3)],
    }
    (tmp_path / "x.json").write_text(json.dumps(figures))
    found = page.filled("before\n<!-- x -->\nold\n<!-- /x -->\nafter <!-- y -->\n<!-- /y -->\n")
    assert found.startswith(
        "before\n<!-- x -->\n`python benchmarks/x.py`, 2026-01-02, on a CPU, 2 cores; tensorflow 2.0."
    )
    assert "| ours | 123 |" in found and "| theirs | 0.512 |" in found and "old" not in found
    assert "| times theirs | ≥ 2 | 2.5 | met |" in found and "| bytes | ≤ 1.3 | 3 | **missed** |" in found
    assert "<!-- y -->\n*Not measured yet.*\n<!-- /y -->" in found


def test_sides_are_measured_in_turns_and_medians_taken():
    seen = []

    def side(name, values):
        def one():
            seen.append(name)
            return {"s": values.pop(0), "what": name}

        return one

    found = measure.in_turns({"a": side("a", [1, 5, 2]), "b": side("b", [7, 8, 9])}, rounds=3, show=False)
    assert seen == ["a", "b"] * 3
    assert measure.medians(found["a"]) == {"s": 2, "what": "a"}
