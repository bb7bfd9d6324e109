"""Use DVC's run cache where dvc.lock names outputs that are not in the cache.

A committed dvc.lock may come from another kind of CPU, where train gives other weights. While the inputs of a stage are
those of dvc.lock, DVC looks for the outputs that dvc.lock names and for no others: where they are missing, it runs the
stage again, although the run cache may hold this machine's own result of the same inputs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from plantdoc.core.flatten import flat
from plantdoc.core.stage import replacing
from plantdoc.remote import cached_outputs
from plantdoc.repo import dvc_hash
from plantdoc.repo.revisions import Revision


def restore(workspace: Revision) -> list[str]:
    """Replace stages of dvc.lock by their entries in the run cache; return the names of these stages.

    A stage is replaced when its command, code and params are those of dvc.lock, an output that dvc.lock names is
    neither in the cache nor in the workspace, and the cache holds all outputs of an earlier run with the same inputs.
    """
    if not workspace.lock:
        return []
    objects = cached_outputs.cache(workspace.root)
    lock = dict(workspace.lock)
    found: dict[str, dict] = {}
    for name, stage in workspace.parsed("dvc.yaml")["stages"].items():
        entry = lock.get(name)
        if entry and _missing(workspace, objects, stage, entry) and _same_inputs(workspace, stage, entry, lock):
            earlier = _earlier_run(objects, entry)
            if earlier:
                found[name] = lock[name] = earlier
    return list(found) if found and _write(workspace.root, found) else []


def _missing(workspace: Revision, objects: Path, stage: dict, entry: dict) -> bool:
    """Whether an output that DVC keeps is neither whole in the cache nor, as dvc.lock names it, in the workspace."""
    kept = {out for out in stage.get("outs", ()) if isinstance(out, str)}
    for out in entry.get("outs", ()):
        if out["path"] in kept and not cached_outputs.is_whole(out["md5"], objects):
            path = workspace.root / out["path"]
            if not path.exists() or dvc_hash.of(path) != out["md5"]:
                return True
    return False


def _same_inputs(workspace: Revision, stage: dict, entry: dict, lock: dict[str, dict]) -> bool:
    """Whether the stage would run with the inputs that dvc.lock names; outputs of other stages as dvc.lock has them."""
    if stage["cmd"] != entry["cmd"]:
        return False
    recorded = flat(entry.get("params", {}).get("params.yaml", {}))
    if any(workspace.params.get(key) != value for key, value in recorded.items()):
        return False
    made = {out["path"]: out["md5"] for other in lock.values() for out in other.get("outs", ())}
    for dep in entry.get("deps", ()):
        path = workspace.root / dep["path"]
        present = made.get(dep["path"]) or (path.exists() and dvc_hash.of(path))
        if present != dep["md5"]:
            return False
    return True


def _earlier_run(objects: Path, entry: dict) -> dict | None:
    """The newest run of the same inputs whose outputs, with metrics and plots, are all in the cache."""
    from dvc.utils import dict_sha256
    from dvc.utils.serialize import load_yaml

    # DVC's own key of a run: `dvc.stage.cache._get_cache_hash`.
    key = dict_sha256(entry | {"outs": [out["path"] for out in entry["outs"]]}, exclude=["size", "nfiles"])
    folder = objects.parents[1] / "runs" / key[:2] / key
    for file in sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True):
        run = load_yaml(str(file))
        if all(cached_outputs.is_whole(out["md5"], objects) for out in run["outs"]):
            return run
    return None


def _write(root: Path, entries: dict[str, dict]) -> bool:
    """Put the stages' entries into dvc.lock, in one step and in DVC's form; not while another dvc holds its lock."""
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.utils.serialize import modify_yaml

    lock = root / "dvc.lock"
    try:
        with Repo(str(root)) as repo, repo.lock, replacing(lock, folder=False) as new:
            shutil.copy(lock, new)
            with modify_yaml(str(new)) as data:
                data["stages"].update(entries)
    except LockError:
        return False  # `dvc repro` meets the same lock and says so
    return True
