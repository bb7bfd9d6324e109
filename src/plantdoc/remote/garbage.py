"""What nothing needs any more: objects in DVC's cache and remote, and what killed runs left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil

from plantdoc.core import git, processes, workspace
from plantdoc.core.errors import UserError
from plantdoc.remote import dvc_remote, remote_config
from plantdoc.repo import git_remotes


def keepers(root: Path | str = ".") -> list[str]:
    """The commits of HEAD and of every branch (those of git remotes too), tag and stash; their data stay."""
    kinds = ("refs/heads", "refs/remotes", "refs/tags", "refs/stash")
    refs = git.text("for-each-ref", "--format=%(refname)", *kinds, root=root).split()
    return _commits(["HEAD", *refs], root)


def keepers_elsewhere(root: Path | str = ".") -> list[str]:
    """The commits of every branch, tag and experiment that the git remotes have.

    Raises:
        UserError: there is no git remote, one gives no answer, or has what this clone does not know.
    """
    remotes = git_remotes.names(root)
    if not remotes:
        raise UserError("there is no git remote to ask what other clones need: the remote storage stays as it is")
    found = []
    for name in remotes:
        unknown = []
        for ref, commit in git_remotes.refs(name, "refs/heads/*", "refs/tags/*", "refs/exps/*", root=root).items():
            try:
                found += _commits([commit], root)
            except UserError:
                unknown.append(ref)
        if unknown:
            raise UserError(
                f"{name} has {', '.join(unknown[:3])}{' and more' if len(unknown) > 3 else ''}, unknown here, whose "
                f"data must stay: `git fetch {name} --tags` first, and `dvc exp pull -A {name}` for experiments"
            )
    return found


def objects(keep: list[str], *, in_remote: bool, remove: bool) -> dict[str, list[int]]:
    """Bytes of each object that neither the workspace nor a commit of `keep` needs, by where it is.

    Looks into the cache and, with `in_remote`, into the default remote; with `remove` the objects are gone afterwards.

    Raises:
        UserError: DVC cannot tell what a commit needs, the remote gives no answer, or other repositories use the cache.
    """
    from botocore.exceptions import BotoCoreError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.db import get_index
    from dvc_data.hashfile.gc import gc

    if in_remote:
        with dvc_remote.opened(remote_config.default()) as place:
            place.reach()
    try:
        # `dvc gc` itself keeps no more than one named commit, and tells no sizes.
        with Repo() as repo, repo.lock:
            cache = repo.cache.local
            if not Path(cache.path).is_relative_to(repo.root_dir):
                raise UserError(
                    f"the cache is at {cache.path}, where other repositories may use it too: `dvc gc --projects` knows "
                    "how to name them"
                )
            stores = {"the cache": cache} | ({"the remote storage": repo.cloud.get_remote_odb()} if in_remote else {})
            # Without force, a listing that is nowhere to be found stops it: the files that it names would go.
            used = set().union(*repo.used_objs(revs=keep, force=not in_remote).values())
            needed = {item.value for item in used}
            found = {}
            for name, store in stores.items():
                paths = [store.oid_to_path(oid) for oid in sorted(set(store.all()) - needed)]
                found[name] = [info["size"] for info in store.fs.info(paths)] if paths else []
                if remove and paths:
                    gc(store, used)
                    if store is not cache:
                        get_index(store).clear()  # what this machine believes to be there
            return found
    except (DvcException, BotoCoreError, OSError) as error:
        reason = ": ".join(str(part) for part in (error, error.__cause__) if part)
        raise UserError(
            f"what is needed cannot be told, so no data was removed: {reason}. `dvc fetch "
            "--all-branches --all-tags` brings listings that are missing here"
        ) from None


def copies(root: Path | str = ".") -> list[Path]:
    """Copies of the tree that killed experiments left under .dvc/tmp/exps."""
    folder = Path(root, ".dvc/tmp/exps")
    return sorted(path.parent for path in [*folder.glob("*/.dvc"), *folder.glob("standalone/*/.dvc")])


def checkpoints(root: Path | str = ".") -> list[Path]:
    """Folders of trainings that did not end, and from which one would go on."""
    return sorted(path.parent for path in Path(root, ".dvc/tmp/plantdoc").glob("*/last.npz"))


def remove_checkpoint(folder: Path) -> bool:
    """Remove a training's checkpoint; False, and all stays, where the training is under way."""
    try:
        with processes.only_one(folder.with_suffix(".lock"), "this training", patience=0):
            shutil.rmtree(folder)
    except UserError:
        return False
    return True


def at_work(root: Path | str = ".") -> list[str]:
    """The dvc commands and sweeps under way in this repository, each as its process id and command line."""
    root = workspace.main_root(root)
    own = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, cwd = process.info["cmdline"] or [], process.info["cwd"]
        if cwd and process.pid not in own and Path(cwd).is_relative_to(root):
            names = {Path(word).name for word in words[:4]}
            if names & {"dvc", "sweep.py"} or Path(cwd).is_relative_to(root / ".dvc/tmp/exps"):
                found.append(f"{process.pid} ({' '.join(words)[:80]})")
    return found


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _commits(names: Iterable[str], root: Path | str) -> list[str]:
    return sorted({*git.text("rev-parse", *(f"{name}^{{commit}}" for name in names), root=root).split()})
