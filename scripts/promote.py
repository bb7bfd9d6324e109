"""Make the best experiment a version of the detector.

    python scripts/promote.py train:val_map50                  the experiment with the highest val mAP@50
    python scripts/promote.py train:val_map50 --bump major     as v2.0.0 after v1.3.0; minor without the flag
    python scripts/promote.py train:val_map50 --allow-worse    even where the last version has a better score

Compared are HEAD and the finished experiments that started from it. The best one's params and results are committed to
the branch, its outputs take their places, and the commit gets a tag like detector@v1.2.0, which is what a version is:
`dvc artifacts get . detector --rev v1.2.0` fetches its model. Nothing is pushed; the commands for it are printed.

Stopped at any moment, either all is as before, or the same command finishes it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import git, processes, stage
from plantdoc.core.errors import UserError
from plantdoc.registry import selection, version_tags
from plantdoc.registry.selection import Candidate
from plantdoc.remote import cached_outputs
from plantdoc.repo import git_remotes, names, revisions
from plantdoc.repo.commands import dvc

log = logging.getLogger("plantdoc")


def main() -> None:
    processes.end_on_terminate()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metric", help="a metric of val, like train:val_map50")
    parser.add_argument("--min", action="store_true", help="the lowest is the best; the highest without this")
    parser.add_argument("--bump", choices=version_tags.BUMPS, default="minor", help="which part of the version goes up")
    parser.add_argument("--allow-worse", action="store_true", help="also where the last version has a better score")
    arguments = parser.parse_args()

    selection.refuse_metric(names.checked(arguments.metric, "a metric"))
    head = revisions.find("HEAD")
    branch = current_branch()
    ranked = selection.ranked(selection.candidates(head), arguments.metric, arguments.min)
    best = ranked[0]
    print_choice(ranked, arguments.metric, arguments.min)

    last = version_tags.latest()
    if last and last.revision.md5(version_tags.MODEL) == best.revision.md5(version_tags.MODEL):
        print(f"nothing to do: {last.name} is the model of {best.name}")
        return
    if last and not arguments.allow_worse:
        refuse_worse(best, last, arguments.metric, arguments.min)
    refuse_missing(best)
    refuse_unknown_versions()
    tag = version_tags.next_name(last, arguments.bump)
    commit = register(best, head, tag, f"{arguments.metric} {best.score:g}")
    print(f"{tag} is commit {commit[:7]} on {branch}; to share it:")
    for command in sharing(branch):
        print(f"  {command}")


def current_branch() -> str:
    """The branch that the version's commit goes to."""
    branch = git.text("branch", "--show-current")
    if not branch:
        raise UserError("HEAD is on no branch, where the version's commit would be lost: `git switch main` first")
    return branch


def print_choice(ranked: list[Candidate], metric: str, lowest: bool) -> None:
    """The candidates, why the first of them won, by how much, and whether that is more than the noise."""
    best, others = ranked[0], ranked[1:]
    width = max(len(one.name) for one in ranked)
    for one in ranked:
        print(f"  {one.name:<{width}}  {one.score:.4f}  {one.size / 1e6:.1f} MB")
    print(f"{best.name} has the {'lowest' if lowest else 'highest'} {metric} of {len(ranked)}: {best.score:.4f}")
    bound, found_by = selection.noise(ranked, metric)
    if others:
        print(f"noise: {found_by}")
    compared = {one.name: one for one in (*others[:1], *(one for one in others if one.name == "HEAD"))}
    for name, other in compared.items():
        lead = abs(best.score - other.score)
        if lead:
            than = "" if bound is None else ": more than the noise" if lead > bound else ": within the noise"
            print(f"{lead:.4f} better than {name}{than}")
        elif best.size != other.size:
            print(f"as good as {name}, and the smaller model by {other.size - best.size} bytes")
        else:
            print(f"as good as {name}, with a model of the same size")
    elsewhere = [one.name for one in others if one.revision.md5("data/raw") != best.revision.md5("data/raw")]
    if elsewhere:
        print(f"measured on other val pictures than {best.name}'s, so compared with care: {', '.join(elsewhere)}")


def refuse_worse(best: Candidate, last: version_tags.Version, metric: str, lowest: bool) -> None:
    """Stop where the last version has a better score."""
    before = last.revision.metrics.get(metric)
    if before is None:
        log.info("%s has no %s: not compared with it", last.name, metric)
    elif before < best.score if lowest else before > best.score:
        raise UserError(
            f"{best.name} has a worse {metric} than {last.name}, the last version: {best.score:.4f} against "
            f"{before:.4f}. --allow-worse registers it all the same"
        )


def refuse_missing(best: Candidate) -> None:
    """Stop where DVC's cache lacks outputs: the version would be a name without a model."""
    if missing := cached_outputs.missing(best.revision, cached_outputs.cache()):
        raise UserError(
            f"{', '.join(missing)} of {best.name} are not in DVC's cache: bring them with `dvc fetch` (for HEAD) or "
            "`dvc exp pull origin EXPERIMENT`, or run the experiment again"
        )


def refuse_unknown_versions() -> None:
    """Stop where a git remote has versions that this clone does not know: the next number may be taken there."""
    known = git.text("tag", "--list").split()
    for remote in git_remotes.names():
        try:
            tags = git_remotes.refs(remote, f"refs/tags/{version_tags.ARTIFACT}@v*")
        except UserError as error:
            log.info("%s cannot be asked for its versions (%s): continuing with those of this clone", remote, error)
            continue
        if unknown := sorted(tag for ref in tags if (tag := ref.removeprefix("refs/tags/")) not in known):
            raise UserError(f"{remote} has {', '.join(unknown)}, unknown here: `git fetch {remote} --tags` first")


def register(best: Candidate, head: revisions.Revision, tag: str, score: str) -> str:
    """Commit and tag the best; returns the commit. On any failure or interruption all goes back to where it was."""
    refuse_foreign_changes(best)
    with contextlib.ExitStack() as undo:
        undo.callback(go_back, head.commit)
        if best.revision.commit != head.commit:
            # Not `dvc exp apply`: killed midway, it leaves HEAD detached, and untracked files in a stash of its own.
            git.text("reset", "--hard", "--quiet")
            git.text("read-tree", "-m", "-u", "HEAD", best.revision.commit)
            dvc("checkout")
            git.text("commit", "--quiet", "-m", f"Promote {best.name}: {score}")
        git.text("tag", "-a", "-m", f"{best.name}: {score}", tag)
        undo.pop_all()
    return git.text("rev-parse", "HEAD")


def refuse_foreign_changes(best: Candidate) -> None:
    """Stop where tracked files have changes, other than those that a promotion of `best` cut short has left."""
    changed = {
        *git.text("diff", "--name-only", "HEAD").splitlines(),
        *git.text("diff", "--name-only", "--cached").splitlines(),
    }
    foreign = sorted(changed & set(git.text("diff", "--name-only", best.revision.commit).splitlines()))
    if foreign:
        raise UserError(
            f"there are changes that are not committed, in {', '.join(foreign)}: commit them, or put them aside with "
            "`git stash`"
        )
    if changed:
        log.info("continuing an interrupted promotion")


def go_back(commit: str) -> None:
    """Make branch, tracked files and outputs those of `commit`."""
    try:
        git.text("reset", "--hard", "--quiet", commit)
        dvc("checkout")
    except UserError as error:
        log.error("%s; to go back: `git reset --hard %s && dvc checkout`", error, commit)


def sharing(branch: str) -> list[str]:
    """The commands that bring commit, tag, data and model to others."""
    remotes = git_remotes.names()
    if not remotes:
        return ["git remote add origin URL", f"git push -u origin {branch} --follow-tags", "make push"]
    if git.text("for-each-ref", "--format=%(upstream)", f"refs/heads/{branch}"):
        return ["git push --follow-tags", "make push"]
    return [f"git push -u {remotes[0]} {branch} --follow-tags", "make push"]


if __name__ == "__main__":
    stage.run(main)
