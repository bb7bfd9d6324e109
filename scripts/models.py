"""List the registered versions of the detector: scores, params, data.

    python scripts/models.py              as a table
    python scripts/models.py --json       for programs
    python scripts/models.py --remote     with a look into the remote storage: does it have the outputs?

Of the params, lr is shown and those in which the versions differ. `raw` and `tfrecords` are the first digits of the
hashes of the data. `cache` says whether this machine has all outputs of the version; where it has not, this brings the
model: dvc artifacts get . detector --rev v1.0.0
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import git, stage
from plantdoc.registry import version_tags
from plantdoc.remote import cached_outputs
from plantdoc.repo import text_table

SCORES = ("train:val_map50", "evaluate:map50", "evaluate:map50_low", "evaluate:map50_high")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--remote", action="store_true", help="look into the remote storage too")
    arguments = parser.parse_args()

    rows = describe(version_tags.versions(), arguments.remote)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print_table(rows)
    else:
        print("no version is registered yet: `make promote BY=train:val_map50` makes one of the best experiment")


def describe(versions: list[version_tags.Version], remote: bool) -> list[dict]:
    """A row per version, all with the same keys, plain values only."""
    if not versions:
        return []
    dates = dict(
        line.split() for line in git.text("tag", "--format=%(refname:short) %(creatordate:short)").splitlines()
    )
    here = cached_outputs.cache()
    there = cached_outputs.in_remote([version.revision for version in versions]) if remote else None
    differing = params_that_differ([version.revision.params for version in versions])
    rows = []
    for version in versions:
        revision = version.revision
        row = {"version": version.name, "date": dates[version.name], "commit": revision.commit}
        row |= {name.partition(":")[2]: revision.metrics.get(name) for name in SCORES}
        row["params"] = {name: revision.params.get(name) for name in differing}
        row |= {"raw": revision.md5("data/raw"), "tfrecords": revision.md5("data/tfrecords")}
        row["cache"] = not cached_outputs.missing(revision, here)
        if there is not None:
            row["remote"] = set(cached_outputs.cached(revision).values()) <= there
        rows.append(row)
    return rows


def params_that_differ(params: list[dict]) -> list[str]:
    """lr, and the names of those that are not the same in all, in the order of params.yaml."""
    names = dict.fromkeys(name for one in params for name in one)
    return [name for name in names if name == "lr" or any(one.get(name) != params[0].get(name) for one in params)]


def print_table(rows: list[dict]) -> None:
    """One line per version."""
    lines = []
    for row in rows:
        cells = {key: row[key] for key in ("version", "date")} | {"commit": row["commit"][:7]}
        cells["val mAP@50"] = figure(row["val_map50"])
        cells["test mAP@50"] = f"{figure(row['map50'])} ({figure(row['map50_low'])}–{figure(row['map50_high'])})"
        cells |= row["params"] | {name: (row[name] or "-")[:7] for name in ("raw", "tfrecords")}
        cells |= {place: "yes" if row[place] else "no" for place in ("cache", "remote") if place in row}
        lines.append({name: str(value) for name, value in cells.items()})
    text_table.show(lines)


def figure(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


if __name__ == "__main__":
    stage.run(main)
