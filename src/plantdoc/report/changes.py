"""Differences between two revisions besides their scores: params, code, data; and whether results are up to date."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from plantdoc.core import hashing, stage_deps
from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat
from plantdoc.repo import dvc_hash, revisions
from plantdoc.repo.revisions import Revision
from plantdoc.report import dvc_files, git_files, markdown

log = logging.getLogger("plantdoc")
RAW = "data/raw"
_COUNTS = (
    ("pictures_dropped", "dropped"),
    ("pictures_left_out", "left out"),
    ("boxes_dropped", "boxes dropped"),
    ("repairs", "repaired"),
    ("duplicate_pairs", "pairs of duplicates"),
    ("label_conflicts", "pairs with different labels"),
)


def params(before: Revision, after: Revision, most: int) -> list[str]:
    """A table of the params that differ, of at most `most` rows."""
    names = sorted(before.params.keys() | after.params.keys())
    none = object()
    changed = [name for name in names if before.params.get(name, none) != after.params.get(name, none)]
    if not changed:
        return ["", "No params changed.", ""]

    def cell(revision: Revision, name: str) -> str:
        return markdown.code(revision.params[name]) if name in revision.params else "–"

    rows = [(markdown.code(name), cell(before, name), cell(after, name)) for name in changed[:most]]
    lines = markdown.table(("param", "before", "after"), rows)
    if len(changed) > most:
        lines += [f"{len(changed) - most} more params changed; the table was cut to fit.", ""]
    return lines


def code(before: Revision, after: Revision) -> list[str]:
    """One line with the pipeline's own files that differ, where the locks do; nothing where none does.

    Of a folder that a stage depends on, the locks have one hash: git names its files.
    """
    old, new = _code(before), _code(after)
    if not old or not new:
        return []
    differing = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    if not differing:
        return []
    files = revisions.changed_files(before, after, differing)
    changed = sorted({name for names in files.values() for name in names})
    shown = ", ".join(map(markdown.code, changed[:12])) + (
        f" and {len(changed) - 12} more" if len(changed) > 12 else ""
    )
    return [f"Code of the pipeline that changed: {shown}.", ""]


def _code(revision: Revision) -> dict[str, str]:
    read = {dep["path"]: dep["md5"] for stage in revision.lock.values() for dep in stage.get("deps", ())}
    return {path: read[path] for path in stage_deps.code(read)}


def _hashes(revision: Revision, paths: Iterable[str]) -> dict[str, str]:
    """The hashes that DVC gives to these files and folders of a revision, of the files that git tracks.

    What is not there has none.
    """
    contents = revision.files(paths)
    md5s = {name: hashlib.md5(text, usedforsecurity=False).hexdigest() for name, text in contents.items()}
    found = {}
    for path in paths:
        inside = {name.removeprefix(f"{path}/"): md5 for name, md5 in md5s.items() if name.startswith(f"{path}/")}
        if path in md5s:
            found[path] = md5s[path]
        elif inside:
            found[path] = dvc_hash.of_listing(inside)
    return found


def data_hash(revision: Revision) -> str | None:
    """The hash of the data that the test scores were measured on, which may be older than what fetch made last."""
    read = revision.lock.get("evaluate", {}).get("deps", ())
    return next((dep["md5"] for dep in read if dep["path"] == RAW), None)


def test_difference(before: Revision, after: Revision, scratch: Path) -> str:
    """Reason why test scores are not comparable; empty where both are of the same pictures with the same boxes.

    Another hash of the data does not settle it: new training pictures leave the test split as it is.
    """
    if data_hash(before) == data_hash(after):
        return ""
    unknown = "whether the test pictures are the same cannot be checked here"
    contents = []
    for revision in (before, after):
        if data_hash(revision) is None or data_hash(revision) != revision.md5(RAW):
            return unknown
        try:
            found = dvc_files.files(revision, RAW, scratch, "test")
        except UserError as error:
            log.info("%s: %s", unknown, error)
            return unknown
        contents.append({name: hashing.of_file(path) for name, path in found.items()})
    return "" if contents[0] == contents[1] else "they were measured on other test pictures"


def audit(before: Revision, after: Revision) -> list[str]:
    """Summary of the audit in one line, with the earlier number where it was another."""
    new = git_files.read_json(after, "results/fetch/report.json")
    old = git_files.read_json(before, "results/fetch/report.json") or new
    if not new:
        return ["**Data:** no audit; `dvc repro fetch` makes one.", ""]

    def count(key: str) -> str:
        was = "" if old.get(key) == new.get(key) else f" (before: {old.get(key, '–')})"
        return f"{new.get(key, '–')}{was}"

    pictures = ", ".join(f"{count(f'pictures_{split}')} {split}" for split in ("train", "val", "test"))
    counts = ", ".join(f"{count(key)} {what}" for key, what in _COUNTS)
    kept = "the same data as before" if before.md5(RAW) == after.md5(RAW) else "other data than before"
    return [f"**Data:** {pictures} pictures; {counts}" + (f"; {kept}." if before.md5(RAW) else "."), ""]


def stale(revision: Revision) -> list[str]:
    """Reasons, one per stage, why results are not those of the revision's own code and params; empty where they are.

    Compares what dvc.lock says with the files that git tracks, as `dvc status` does for the workspace.
    """

    @functools.cache
    def md5(path: str) -> str | None:
        text = revision.read(path)
        return None if text is None else hashlib.md5(text, usedforsecurity=False).hexdigest()

    recorded_code = _code(revision)
    present_code = _hashes(revision, recorded_code)
    head = revision if revision.commit else revisions.find("HEAD", revision.root)
    reasons = []
    for name, stage in revision.lock.items():
        recorded = flat(stage.get("params", {}).get("params.yaml", {}))
        found = [key for key, value in recorded.items() if revision.params.get(key) != value]
        for dep in stage.get("deps", ()):
            path = dep["path"]
            if path in recorded_code:
                if present_code.get(path) != dep["md5"]:
                    found.append(path)
            elif (revision.md5(path) or md5(path)) not in (None, dep["md5"]):
                found.append(path)
        for out in stage.get("outs", ()):
            # Only what git tracks: of what DVC keeps, the report reads the recorded state, whatever the work tree has.
            if head.read(out["path"]) is not None and md5(out["path"]) not in (None, out["md5"]):
                found.append(out["path"])
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            reasons.append(f"{name} ({', '.join(map(markdown.code, found[:5]))}{more})")
    return reasons
