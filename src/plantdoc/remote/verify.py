"""Objects that the remote lacks or has with other bytes, found by reading them."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from plantdoc.core import params
from plantdoc.remote.dvc_remote import Bucket, Folder

MISSING, CORRUPTED = "missing", "corrupted"
_AT_ONCE = 8


@dataclass(frozen=True)
class Object:
    """A file as DVC stores it: `path` in the repository, `md5` its name in the storage.

    An output that is a folder has an object too, with the list of its files; `listing` is that list's md5, for a file
    that stands alone its own.
    """

    path: str
    md5: str
    listing: str

    @property
    def key(self) -> str:
        return f"files/md5/{self.md5[:2]}/{self.md5[2:]}"


def objects(targets: list[str], *places: Bucket | Folder) -> list[Object]:
    """The objects of the outputs that dvc.lock names; of those of `targets` (stages or paths) where there are any.

    What is inside a folder is known where one of the `places` has its listing.
    """
    pipeline, found = params.read("dvc.yaml")["stages"], []
    for stage, about in params.read("dvc.lock")["stages"].items():
        in_git = _in_git(pipeline.get(stage, {}))
        for out in about.get("outs", ()):
            path, md5 = out["path"], out["md5"]
            if path in in_git or (targets and not any(target in (stage, path) for target in targets)):
                continue
            found.append(Object(path, md5, md5))
            if md5.endswith(".dir"):
                found += [Object(f"{path}/{name}", part, md5) for name, part in _listing(found[-1], places)]
    return found


def state(object_: Object, place: Bucket | Folder) -> str | None:
    """MISSING, CORRUPTED, or None where the place has the right bytes."""
    digest = hashlib.md5()
    try:
        for piece in place.read(object_.key):
            digest.update(piece)
    except FileNotFoundError:
        return MISSING
    return None if digest.hexdigest() == object_.md5.removesuffix(".dir") else CORRUPTED


def states(wanted: list[Object], place: Bucket | Folder) -> dict[Object, str]:
    """The objects that are not right in `place`, each with its state; reads every one of them."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        looked = pool.map(lambda object_: state(object_, place), wanted)
        found = list(tqdm(looked, "looking", len(wanted), leave=False, disable=None, dynamic_ncols=True))
    return {object_: state for object_, state in zip(wanted, found, strict=True) if state}


def _in_git(stage: dict) -> set[str]:
    """The stage's outputs that DVC does not store: those with `cache: false`."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    optional = [item for entry in entries if isinstance(entry, dict) for item in entry.items()]
    return {path for path, options in optional if not options.get("cache", True)}


def _listing(folder: Object, places: tuple[Bucket | Folder, ...]) -> list[tuple[str, str]]:
    for place in places:
        if state(folder, place) is None:
            rows = json.loads(b"".join(place.read(folder.key)))
            return [(row["relpath"], row["md5"]) for row in rows]
    return []
