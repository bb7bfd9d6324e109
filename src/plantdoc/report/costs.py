"""Time and money of two revisions, by stage, as results/cost.json tells them."""

from __future__ import annotations

from plantdoc.core import hashing
from plantdoc.repo.revisions import Revision
from plantdoc.report import dvc_files, git_files, markdown

# The output that each stage's figures belong to, in the order of the pipeline.
OUTPUTS = {
    "fetch": "data/raw",
    "augment": "data/tfrecords",
    "train": "models/detector",
    "evaluate": "results/evaluate/predictions.json",
    "deploy": "models/bundle",
}
_EARLIER = "†"
_UNKNOWN = "‡"


def table(before: Revision, after: Revision) -> list[str]:
    """Minutes per stage, the machine, and dollars where there are any, with a note on figures of another run."""
    old, new = _costs(before), _costs(after)
    stages = [name for name in OUTPUTS if name in old or name in new]
    if not stages:
        return ["**Time and cost:** not recorded.", ""]
    marks = {id(costs): _marks(revision, costs) for revision, costs in ((before, old), (after, new))}

    def minutes(costs: dict, name: str) -> str:
        value = costs.get(name, {}).get("minutes")
        return "–" if value is None else f"{value:.1f}{marks[id(costs)][name]}"

    def machine(name: str) -> str:
        names = dict.fromkeys(costs[name].get("machine", "unknown") for costs in (old, new) if name in costs)
        return " → ".join(map(markdown.code, names))

    rows = [(name, minutes(old, name), minutes(new, name), machine(name)) for name in stages]
    rows.append(("**all**", _sum(old, "minutes", "{:.1f}"), _sum(new, "minutes", "{:.1f}"), ""))
    if any("dollars" in figures for costs in (old, new) for figures in costs.values()):
        rows.append(("**dollars**", _sum(old, "dollars", "${:.2f}"), _sum(new, "dollars", "${:.2f}"), ""))
    lines = markdown.table(("stage", "minutes before", "minutes after", "machine"), rows, numbers=(1, 2))
    shown = {mark for costs in (old, new) for mark in marks[id(costs)].values()}
    if _EARLIER in shown:
        lines += [f"{_EARLIER} measured on another run, which made another output; this one came from DVC's cache.", ""]
    if _UNKNOWN in shown:
        lines += [f"{_UNKNOWN} not checked against the output, which is not in the cache here.", ""]
    return lines


def _costs(revision: Revision) -> dict[str, dict]:
    return git_files.read_json(revision, "results/cost.json") or {}


def _sum(costs: dict[str, dict], key: str, form: str) -> str:
    values = [costs[name][key] for name in OUTPUTS if key in costs.get(name, {})]
    return form.format(sum(values)) if values else "–"


def _marks(revision: Revision, costs: dict[str, dict]) -> dict[str, str]:
    """Per stage, whether the figures belong to the revision's output: nothing to add, another run's, or unknown."""
    marks = {}
    for name in OUTPUTS.keys() & costs.keys():
        found = dvc_files.in_cache(revision, OUTPUTS[name])
        if found is None:
            marks[name] = _UNKNOWN
        else:
            content = hashing.of_value(sorted((path, hashing.of_file(file)) for path, file in found.items()))
            marks[name] = "" if content == costs[name].get("output") else _EARLIER
    return marks
