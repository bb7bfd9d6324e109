"""Selection of the best experiment by a validation metric, and whether its lead is more than chance."""

from __future__ import annotations

import json
import logging
import math
import statistics
from dataclasses import dataclass

from ruamel.yaml import YAML

from plantdoc.core import git
from plantdoc.core.errors import UserError
from plantdoc.registry import version_tags
from plantdoc.repo import revisions

log = logging.getLogger("plantdoc")

VALIDATION = "train:"  # metrics measured on the val pictures, or on the way to them
_INTERVALS = {"train:val_map50": "evaluate:map50", "train:val_map": "evaluate:map"}
# Student's t for 95 %, two-sided, by degrees of freedom from 1; beyond ten, its value at ten.
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True)
class Candidate:
    """A finished state of the pipeline; `size` of its model in bytes."""

    revision: revisions.Revision
    score: float
    size: int

    @property
    def name(self) -> str:
        return self.revision.name


def refuse_metric(metric: str) -> None:
    """Raise a UserError where `metric` is none to choose by."""
    if metric.startswith("evaluate:"):
        raise UserError(
            f"{metric} is measured on the test pictures. What is chosen by it is chosen to suit them, and its score no "
            "longer says how well unseen pictures are read. Choose by a metric of val, like train:val_map50"
        )
    if not metric.startswith(VALIDATION):
        raise UserError(f"{metric} is no metric of val: choose by one like train:val_map50")


def candidates(head: revisions.Revision) -> list[revisions.Revision]:
    """HEAD, and the finished experiments that started from it.

    Where HEAD is itself an experiment of an earlier commit, applied and committed, the others of that commit: so it is
    after a promotion. Experiments of other commits ran other code or data and are not compared.

    Raises:
        UserError: there is no experiment, and HEAD is no registered version either.
    """
    everything = revisions.experiments(head.root)
    bases = {experiment.base for experiment in everything}
    history = git.text("rev-list", "--first-parent", head.commit, root=head.root).split()
    base = next((commit for commit in history if commit in bases), "")
    found = [experiment for experiment in everything if experiment.base == base]
    others = [experiment for experiment in found if _tree(experiment) != _tree(head)]
    if base == head.commit or len(others) < len(found):
        return [head, *others]
    if head.commit not in [version.revision.commit for version in version_tags.versions(head.root)]:
        elsewhere = f" ({len(everything)} started from other commits)" if everything else ""
        raise UserError(
            f"no finished experiment started from HEAD, {head.commit[:7]}{elsewhere}. Make some: "
            '`make sweep LR="0.05 0.1 0.2"`, or `dvc exp run -S lr=0.2`. One that ran before, with the same code, data '
            "and params, comes from DVC's run cache at once, unless `make gc` was run since"
        )
    return [head]


def ranked(found: list[revisions.Revision], metric: str, lowest: bool = False) -> list[Candidate]:
    """The best first: by the metric, then the smaller model, then what needs no change (HEAD), then the name.

    Unfinished states, and those without the metric, are left out.

    Raises:
        UserError: no state has the metric.
    """
    scored = []
    for revision in found:
        if not is_whole(revision):
            log.info("%s is not compared: its stages did not all run, one on what the other left", revision.name)
        elif not _is_number(revision.metrics.get(metric)):
            log.info("%s is not compared: it has no %s", revision.name, metric)
        else:
            scored.append(Candidate(revision, revision.metrics[metric], _model_size(revision)))
    if not scored:
        known = {name for revision in found for name, value in revision.metrics.items() if _is_number(value)}
        ours = sorted(name for name in known if name.startswith(VALIDATION))
        raise UserError(f"no experiment has a metric {metric}; there is: {', '.join(ours) or 'none'}")
    sign = 1 if lowest else -1
    return sorted(scored, key=lambda one: (sign * one.score, one.size, bool(one.revision.base), one.name))


def is_whole(revision: revisions.Revision) -> bool:
    """Whether all stages ran, each on what the one before it left: `dvc exp run train` alone leaves old test scores."""
    stages = (YAML(typ="safe").load(revision.read("dvc.yaml") or b"") or {}).get("stages", {})
    deps = [dep for stage in revision.lock.values() for dep in stage.get("deps", ())]
    return set(stages) == set(revision.lock) and all(revision.md5(dep["path"]) in (None, dep["md5"]) for dep in deps)


def noise(found: list[Candidate], metric: str) -> tuple[float | None, str]:
    """By how much two runs differ by chance, and a sentence on how that was found.

    Candidates with equal params but for the seed are repeats. Their variance about their mean, pooled over all such
    groups, is that of one run; the difference of two runs has twice as much, and stays below t·s·√2 in 95 % of cases.
    Without repeats nothing on val tells: then half the 95 % interval of the same score on test is given as a scale. It
    is no test: it comes from the choice of test pictures, which the candidates share, and not from the seed.
    """
    groups: dict[str, dict[object, float]] = {}
    for one in found:
        rest = json.dumps({key: value for key, value in one.revision.params.items() if key != "seed"}, sort_keys=True)
        groups.setdefault(rest, {})[one.revision.params.get("seed")] = one.score
    repeats = [list(scores.values()) for scores in groups.values() if len(scores) > 1]
    if freedom := sum(len(scores) - 1 for scores in repeats):
        squares = sum(statistics.variance(scores) * (len(scores) - 1) for scores in repeats)
        deviation = math.sqrt(squares / freedom)
        bound = _T95[min(freedom, len(_T95)) - 1] * deviation * math.sqrt(2)
        return bound, (
            f"repeated seeds scatter with a standard deviation of {deviation:.4f} ({freedom + len(repeats)} runs in "
            f"{len(repeats)} groups): two runs differ by up to {bound:.4f} by chance"
        )
    test, metrics = _INTERVALS.get(metric), found[0].revision.metrics
    if test and f"{test}_low" in metrics:
        bound = (metrics[f"{test}_high"] - metrics[f"{test}_low"]) / 2
        return bound, (
            f"no seed was repeated, so it is unknown on val; for scale, the 95 % interval of {test} is ± {bound:.4f}"
        )
    return None, "unknown: no seed was repeated, and there is no interval on test to compare with"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _model_size(revision: revisions.Revision) -> int:
    outs = [out for stage in revision.lock.values() for out in stage.get("outs", ())]
    return next((out["size"] for out in outs if out["path"] == version_tags.MODEL), 0)


def _tree(revision: revisions.Revision) -> str:
    return git.text("rev-parse", f"{revision.commit}^{{tree}}", root=revision.root)
