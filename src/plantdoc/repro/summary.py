"""Summary after the pipeline has run: score, minutes, where to look, what to do next."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable

from plantdoc.core import cost, git, hashing
from plantdoc.repo.revisions import Revision
from plantdoc.report import changes
from plantdoc.report.costs import OUTPUTS
from plantdoc.report.markdown import score
from plantdoc.repro import comparison
from plantdoc.repro.comparison import SCORE, Comparison

WIDTH = 100
INDENT = 14
_NEXT = (
    ("make serve", "open the page: drop a photo, see the boxes"),
    ("dvc exp run -S lr=0.2", "another learning rate; after . .venv/bin/activate"),
    (".venv/bin/python scripts/recipe.py", "PlantDoc, or your own pictures"),
)
_SHORT = " ({}–{})"
_HASHED = 1e9  # bytes; an output that is larger is not read just to tell its minutes
Line = tuple[str, str]  # heading, text


def first_run(workspace: Revision) -> str:
    """Steps and measured minutes of a first run; empty where it has been run here."""
    if not workspace.lock or any((workspace.root / path).exists() for path in OUTPUTS.values()):
        return ""
    costs = costs_of(workspace)
    text = f"Running {len(OUTPUTS)} stages: {', '.join(OUTPUTS)}."
    if all("minutes" in costs.get(name, {}) for name in OUTPUTS) and not changes.stale(workspace):
        minutes = sum(costs[name]["minutes"] for name in OUTPUTS)
        text += f" They took {minutes:.1f} minutes on {costs['train'].get('machine', 'another machine')}."
    return _wrapped(f"{text} After Ctrl-C, the same command continues from the last finished epoch.")


def costs_of(workspace: Revision) -> dict[str, dict]:
    """results/cost.json by stage; empty where it is missing or cannot be read."""
    try:
        return json.loads(workspace.read(str(cost.PATH)) or b"{}")
    except ValueError:
        return {}


def lines(workspace: Revision, costs_before: dict[str, dict]) -> list[Line]:
    """The summary; `costs_before` is `costs_of` before the run, which shows the stages that ran."""
    found = [("test mAP@50", _scored(workspace))]
    if stale := changes.stale(workspace):
        found.append(("out of date", f"{'; '.join(stale).replace('`', '')}: `make repro`"))
    found += [
        ("minutes", minutes(workspace, costs_before)),
        ("pictures", "results/evaluate/pictures: test pictures, truth beside prediction"),
        ("report", "results/fetch/report.md: what came in, what was dropped and why"),
    ]
    against = comparison.with_head(workspace)
    if against and against.other:
        found += _otherwise(workspace, against)
    width = max(len(command) for command, _ in _NEXT)
    for i, (command, text) in enumerate(_NEXT):
        found.append(("" if i else "next", f"{command:<{width}}  {text}"))
    return found


def _scored(revision: Revision) -> str:
    value = revision.metrics.get(SCORE)
    return "not measured yet: `make repro`" if value is None else _score(revision)


def _score(revision: Revision, form: str = " (95 % interval {}–{})") -> str:
    low, high = (revision.metrics.get(f"{SCORE}_{end}") for end in ("low", "high"))
    return score(revision.metrics.get(SCORE)) + ("" if None in (low, high) else form.format(score(low), score(high)))


def minutes(workspace: Revision, costs_before: dict[str, dict]) -> str:
    """Minutes per stage by machine, of those stages whose figures belong to the present output."""
    costs = costs_of(workspace)
    by_machine: dict[str, list[str]] = {}
    earlier, unknown = [], []
    for name, out in OUTPUTS.items():
        entry = costs.get(name, {})
        ran = entry != costs_before.get(name, {})
        if "minutes" not in entry or not (ran or _belongs(workspace, out, entry)):
            unknown.append(name)
            continue
        by_machine.setdefault(entry.get("machine", "unknown machine"), []).append(f"{name} {entry['minutes']:.1f}")
        if not ran:
            earlier.append(name)
    text = "; ".join(f"{', '.join(stages)} on {machine}" for machine, stages in by_machine.items())
    if earlier:
        text += f". Not run now: {', '.join(earlier)}"
    if unknown:
        text += f"{'. ' if text else ''}Not known for these outputs: {', '.join(unknown)}"
    return text


def _belongs(workspace: Revision, out: str, entry: dict) -> bool:
    """Whether a cost entry has the hash of the present output, as `cost.record` takes it."""
    path = workspace.root / out
    sizes = {
        found["path"]: found.get("size", 0) for stage in workspace.lock.values() for found in stage.get("outs", ())
    }
    if not path.exists() or sizes.get(out, 0) > _HASHED:
        return False
    return hashing.of_files([path], root=path if path.is_dir() else path.parent) == entry.get("output")


def _otherwise(workspace: Revision, against: Comparison) -> list[Line]:
    """Differences from the results of the last commit, and how to keep or drop them."""
    name = against.head.commit[:7]
    if against.changed:
        more = f" and {len(against.changed) - 5} more" if len(against.changed) > 5 else ""
        scores = f"test mAP@50 {_score(against.head, _SHORT)} there, {_score(workspace, _SHORT)} here"
        return [("changed", f"{', '.join(against.changed[:5])}{more} since {name}; {scores}")]
    verdict = {
        True: "they agree within their 95 % intervals",
        False: "they do not agree within their 95 % intervals",
        None: "no intervals to compare",
    }[comparison.agree(against.head, workspace)]
    machine = costs_of(against.head).get("train", {}).get("machine", "unknown")
    changed = git.text("diff", "--name-only", "HEAD", "--", "dvc.lock", "results", root=workspace.root).splitlines()
    results = sum(path != "dvc.lock" for path in changed)
    return [
        (
            "this machine",
            f"equal to {name}: {', '.join(against.equal) or 'no stage'}; not equal, from the same code and params: "
            f"{', '.join(against.other)}; test mAP@50 {_score(against.head, _SHORT)} on {machine}, "
            f"{_score(workspace, _SHORT)} here: {verdict}",
        ),
        ("changed", f"dvc.lock and {results} files in results/ (git), outputs of {', '.join(against.other)} (DVC)"),
        ("keep", 'git commit -m "Results of this machine" dvc.lock results'),
        ("drop", f"git checkout -- dvc.lock results   (and `make pull`, if {name} was pushed)"),
    ]


def text(found: Iterable[Line], colour: bool = False) -> str:
    """The lines as text, WIDTH wide, headings bold on a terminal."""
    shown = []
    for heading, words in found:
        whole = _wrapped(f"{heading:<{INDENT}}{words}", indent=INDENT)
        shown.append(f"\x1b[1m{whole[:INDENT]}\x1b[0m{whole[INDENT:]}" if colour else whole)
    return "\n".join(shown)


def _wrapped(words: str, indent: int = 0) -> str:
    return textwrap.fill(words, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
