"""Remove experiments, and what no branch, tag or version needs of DVC's cache, after showing what and how much.

    python scripts/cleanup.py                          shows it and asks
    python scripts/cleanup.py --yes                    does it without asking
    python scripts/cleanup.py --keep lr-0.2 lr-0.3     these experiments and their data stay
    python scripts/cleanup.py --remote                 the remote storage too, as far as no other clone needs it

Data of the workspace and of the newest commit of every branch, of every tag and of every experiment kept stay; those of
older commits go, and `dvc repro` there makes them again. DVC's run cache loses what it has of all others: an experiment
that is run again is trained again. With --remote, what the git remotes have stays as well: branches and tags of others,
and experiments that were pushed. Nobody should push data meanwhile.

Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import git, stage
from plantdoc.core.errors import UserError
from plantdoc.remote import garbage
from plantdoc.repo import revisions
from plantdoc.repo.commands import dvc
from plantdoc.repo.revisions import Revision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", nargs="+", default=[], metavar="NAME", help="experiments that stay")
    parser.add_argument("--remote", action="store_true", help="clean the remote storage too")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args()

    refuse_busy()
    experiments = revisions.experiments()
    if unknown := sorted(set(arguments.keep) - {experiment.name for experiment in experiments}):
        raise UserError(f"there is no experiment {', '.join(unknown)}; `dvc exp list --all-commits` lists them")
    dropped = [experiment for experiment in experiments if experiment.name not in arguments.keep]
    kept = [experiment for experiment in experiments if experiment.name in arguments.keep]

    objects = garbage.objects(keepers(kept, arguments.remote), in_remote=arguments.remote, remove=False)
    left = [*garbage.copies(), *garbage.checkpoints()]
    show(dropped, objects, left)
    if not (dropped or left or any(objects.values())):
        return
    if not (arguments.yes or is_wanted()):
        print("nothing was removed; --yes removes it")
        return

    refuse_busy()
    # Experiments first: none is left without its data, if this is stopped.
    if dropped:
        dvc("exp", "remove", *map(ref, dropped))
    # What is needed is asked anew: there may be more than before the question.
    needed = keepers(revisions.experiments(), arguments.remote)
    removed = garbage.objects(needed, in_remote=arguments.remote, remove=True)
    for folder in garbage.copies():
        shutil.rmtree(folder)
    under_way = [folder for folder in garbage.checkpoints() if not garbage.remove_checkpoint(folder)]
    for folder in under_way:
        print(f"{folder} stays: its training is under way")
    print(f"experiments removed: {len(dropped)}")
    for where, sizes in removed.items():
        print(f"removed {amount(sizes)} from {where}")


def refuse_busy() -> None:
    """Stop while something runs: its outputs are in the cache before any commit names them."""
    if busy := garbage.at_work():
        raise UserError(f"at work in this repository: {', '.join(busy)}; wait for it, or end it")


def keepers(experiments: list[Revision], in_remote: bool) -> list[str]:
    """The commits whose data stay: these experiments', and those that branches and tags name, here and elsewhere."""
    elsewhere = garbage.keepers_elsewhere() if in_remote else []
    return [*garbage.keepers(), *(experiment.commit for experiment in experiments), *elsewhere]


def show(experiments: list[Revision], objects: dict[str, list[int]], left: list[Path]) -> None:
    """Print what would be removed, and its size."""
    print(f"experiments to remove: {len(experiments)}")
    width = max((len(experiment.name) for experiment in experiments), default=0)
    for experiment in experiments:
        date = git.text("show", "-s", "--format=%cs", experiment.commit)
        scores = [f"{name} {experiment.metrics.get(name, '-')}" for name in ("train:val_map50", "evaluate:map50")]
        print(f"  {experiment.name:<{width}}  {date}  {', '.join(scores)}")
    for where, sizes in objects.items():
        print(f"{amount(sizes)} in {where} that nothing else needs")
    for folder in left:
        what = "checkpoint of a training that did not end" if (folder / "last.npz").exists() else "copy of the tree"
        print(f"{folder}: {what}, {garbage.size(folder)} bytes")


def is_wanted() -> bool:
    """Whether a person, if there is one, says yes."""
    if not sys.stdin.isatty():
        return False
    print("remove all this? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def ref(experiment: Revision) -> str:
    """An experiment's full name: short ones repeat from one commit to the next."""
    return f"refs/exps/{experiment.base[:2]}/{experiment.base[2:]}/{experiment.name}"


def amount(sizes: list[int]) -> str:
    """A number of objects and their size, as text."""
    return f"{len(sizes)} objects, {sum(sizes)} bytes ({sum(sizes) / 1e6:.1f} MB)"


if __name__ == "__main__":
    stage.run(main)
