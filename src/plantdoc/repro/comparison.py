"""The results of the workspace against those of the last commit: what was changed, and what came out otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from plantdoc.core import stage_deps
from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat
from plantdoc.repo import revisions
from plantdoc.repo.revisions import Revision

SCORE = "evaluate:map50"


@dataclass(frozen=True)
class Comparison:
    """The dvc.lock of the workspace against that of `head`.

    `changed` names inputs that differ: code, params, or pictures that came from a folder outside. `equal` and `other`
    are the stages with the same and with other outputs.
    """

    head: Revision
    changed: list[str]
    equal: list[str]
    other: list[str]


def with_head(workspace: Revision) -> Comparison | None:
    """Compare with the last commit; None where there is none, or it has no dvc.lock."""
    try:
        head = revisions.find("HEAD", workspace.root)
    except UserError:  # no repository, or no commit: nothing to compare with
        return None
    if not head.lock:
        return None
    old, new = head.lock, workspace.lock
    changed = [word for name in new for word in _changed(old.get(name, {}), new[name], old | new)]
    files = revisions.changed_files(head, workspace, stage_deps.code(changed))
    changed = [name for word in changed for name in files.get(word, [word])]
    equal = [name for name in new if _outs(new[name]) == _outs(old.get(name, {}))]
    other = [name for name in new if name not in equal]
    source = str(workspace.params.get("fetch.source"))
    if "fetch" in other and not changed and source != "sample":  # its folder is no dep of fetch
        changed = [f"the pictures of {source}"]
    return Comparison(head, list(dict.fromkeys(changed)), equal, other)


def _outs(stage: dict) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in stage.get("outs", ())}


def _changed(old: dict, new: dict, stages: dict[str, dict]) -> list[str]:
    """The inputs of a stage that differ, without outputs of other stages: `lr 0.1 → 0.2`, `src/train.py`."""
    made = {path for stage in stages.values() for path in _outs(stage)}
    found = [] if old.get("cmd") == new.get("cmd") else ["dvc.yaml"]
    before, after = (flat(stage.get("params", {}).get("params.yaml", {})) for stage in (old, new))
    for key in before | after:
        if before.get(key) != after.get(key):
            found.append(f"{key} {before.get(key, 'none')} → {after.get(key, 'none')}")
    before, after = ({dep["path"]: dep["md5"] for dep in stage.get("deps", ())} for stage in (old, new))
    return found + [path for path in before | after if path not in made and before.get(path) != after.get(path)]


def agree(before: Revision, after: Revision) -> bool | None:
    """Whether each test mAP@50 lies in the other's 95 % interval; None where a score or an interval is missing."""
    keys = [SCORE + end for end in ("", "_low", "_high")]
    found = [revision.metrics.get(key) for revision in (before, after) for key in keys]
    scores = [value for value in found if value is not None]
    if len(scores) < len(found):
        return None
    old, old_low, old_high, new, new_low, new_high = scores
    return old_low <= new <= old_high and new_low <= old <= new_high
