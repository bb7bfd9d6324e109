"""Outputs of a revision in DVC's cache on this machine, and in the remote storage."""

from __future__ import annotations

import json
from pathlib import Path

from plantdoc.core import dvc_config
from plantdoc.core.errors import UserError
from plantdoc.remote import dvc_remote, remote_config
from plantdoc.repo.revisions import Revision


def cache(root: Path | str = ".") -> Path:
    """The folder of the objects, each at `<first two digits>/<the rest>` of its MD5."""
    folder = dvc_config.read(root)["cache"].get("dir") or Path(root).absolute() / ".dvc/cache"
    return Path(folder) / "files/md5"


def cached(revision: Revision) -> dict[str, str]:
    """The MD5 of each output that DVC keeps, by its path; what git keeps (metrics, plots) is left out."""
    outs = [entry for stage in revision.lock.values() for entry in stage.get("outs", ())]
    return {entry["path"]: entry["md5"] for entry in outs if revision.read(entry["path"]) is None}


def missing(revision: Revision, objects: Path) -> list[str]:
    """Paths of the outputs that are not in the cache `objects`, or not wholly."""
    return sorted(path for path, md5 in cached(revision).items() if not is_whole(md5, objects))


def in_remote(revisions: list[Revision]) -> set[str]:
    """Those MD5s of the revisions' outputs that the default remote has.

    Of a folder the listing is looked for, which DVC pushes after the files that it names.

    Raises:
        UserError: there is no remote, or it gives no answer.
    """
    from botocore.exceptions import BotoCoreError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with dvc_remote.opened(remote_config.default()) as place:
        place.reach()
    wanted = sorted({md5 for revision in revisions for md5 in cached(revision).values()})
    try:
        with Repo() as repo:
            return set(repo.cloud.get_remote_odb().list_oids_exists(wanted))
    except (DvcException, BotoCoreError, OSError) as error:
        raise UserError(f"the remote storage cannot be asked: {error}") from None


def is_whole(md5: str, objects: Path) -> bool:
    """Whether the cache `objects` holds a file, or a folder with all its files."""
    file = objects / md5[:2] / md5[2:]
    if not file.exists():
        return False
    if not md5.endswith(".dir"):
        return True
    return all((objects / part["md5"][:2] / part["md5"][2:]).exists() for part in json.loads(file.read_bytes()))
