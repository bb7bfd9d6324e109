"""benchmarks/overheads.py: it times what has nothing to do, and counts what a push brings."""

from __future__ import annotations

import json

import fake_repo
import pytest
import small_repo


@pytest.mark.full
def test_a_second_trial_uploads_what_changed_and_nothing_new_uploads_nothing(tmp_path):
    repository = fake_repo.finished(tmp_path / "repository")
    for script in repository.glob("scripts/*.py"):
        if script.name != "models.py":
            script.unlink()
    small_repo.run(repository, "python", "benchmarks/overheads.py", "--rounds", "1")
    found = json.loads((repository / "results/benchmarks/overheads.json").read_text())
    rows = {row["what"]: row for row in found["rows"]}
    assert set(rows) > {"dvc repro", "dvc status", "import tensorflow", "scripts/models.py --help"}
    assert rows["scripts/models.py --help"]["imports alone, s"] > 0
    first, second, nothing = (rows[name] for name in rows if name.startswith("dvc push"))
    # Of the tiny stages: 150 kB of pictures and 300 kB of records, then 100 kB of weights and a bundle of 50 kB.
    assert first["bytes"] > 600_000
    assert 150_000 < second["bytes"] < 160_000 and second["objects"] < first["objects"]
    assert (nothing["objects"], nothing["bytes"]) == (0, 0)
    assert [target["at_most"] for target in found["targets"]] == [4, 1]

    params = repository / "params.yaml"
    params.write_text(params.read_text().replace("seed: ", "seed: 1"))
    refused = small_repo.run(repository, "python", "benchmarks/overheads.py", "--rounds", "1", check=False)
    assert refused.returncode == 1 and "not everything here is up to date" in refused.stdout
