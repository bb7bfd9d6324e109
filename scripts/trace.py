"""Say which revision made a model, and how to make it again.

    python scripts/trace.py models/detector            a model's folder, or a copy of one anywhere
    python scripts/trace.py model.tar.gz --check       a bundle, also unpacked; its hashes are verified

The model is looked up by the hash that DVC has for it, in the dvc.lock of every commit of all branches and tags, of
every experiment, and of the workspace. `--check` also holds the model's own record of its inputs against the files of
the revision that made it, and ends with exit code 1 where they differ. Nothing is downloaded, nothing is changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, git, stage
from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat
from plantdoc.registry import provenance, shipped, version_tags
from plantdoc.registry.shipped import Model
from plantdoc.repo import revisions
from plantdoc.repo.revisions import Revision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a detector or a bundle, or a model.tar.gz")
    parser.add_argument("--check", action="store_true", help="verify the hashes; exit code 1 where one differs")
    arguments = parser.parse_args()
    model = shipped.read(str(entry.given(arguments.model)))
    root = provenance.root()
    found = provenance.holders(model.md5, root)
    if not found:
        raise UserError(unknown(model, root))
    for title, value in describe(model, found):
        print(f"{title:<10} {value}")
    if arguments.check:
        check(model, found[0])


def describe(model: Model, found: list[Revision]) -> Iterator[tuple[str, str]]:
    """Describe a model as (title, text); `found` are the revisions that hold it, its maker first."""
    maker = found[0]
    output = provenance.output(maker, model.md5)
    stages = {name: maker.lock[name] for name in provenance.upstream(maker.lock, output)}
    outs = {out["path"]: out for one in stages.values() for out in one["outs"]}
    yield "model", f"{output} {model.md5}"
    yield "made by", title(maker)
    holding = {revision.commit for revision in found}
    for version in version_tags.versions(maker.root):
        if version.revision.commit in holding:
            yield "version", version.name
    for line in also_in(found):
        yield "also in", line
    if provenance.is_shallow(maker.root):
        yield "note", "this clone is shallow, an older commit may have made it: `git fetch --unshallow`"
    for line in scores(maker):
        yield "score", line
    for path in sorted({dep["path"] for one in stages.values() for dep in one["deps"]} & outs.keys()):
        if path.partition("/")[0] in ("data", "models"):
            yield "data", f"{path} {outs[path]['md5']}"
    yield "again", again(maker)
    params = {}
    for one in stages.values():
        params |= flat(one.get("params", {}).get("params.yaml", {}))
    for key in sorted(params):
        yield "param", f"{key} = {json.dumps(params[key], ensure_ascii=False)}"


def title(revision: Revision) -> str:
    """A revision as a person knows it."""
    if not revision.commit:
        return "the workspace; its dvc.lock is not committed"
    if revision.base:
        return f"experiment {revision.name} ({revision.commit[:10]}, on {revision.base[:10]})"
    about = git.text("show", "--no-patch", "--format=%cs, %an: %s", revision.commit, root=revision.root)
    return f"commit {revision.commit[:10]} ({about})"


def also_in(found: list[Revision]) -> Iterator[str]:
    """Other places of a model: branches and tags by name, other commits by their number, experiments, the workspace."""
    maker, *others = found
    commits = {revision.commit for revision in found if revision.commit and not revision.base}
    named = {maker.commit}
    format = "--format=%(refname:short) %(objectname) %(*objectname)"
    listed = git.text("for-each-ref", format, "refs/heads", "refs/remotes", "refs/tags", root=maker.root)
    for line in listed.splitlines():
        name, *ids = line.split()  # an annotated tag has two: its own, and the commit's
        if ids[-1] in commits:
            named.add(ids[-1])
            yield name
    if rest := len(commits - named):
        yield f"{rest} more commit{'s' * (rest > 1)}"
    for revision in others:
        if not revision.commit or revision.base:
            yield f"experiment {revision.name}" if revision.base else revision.name


def scores(maker: Revision) -> Iterator[str]:
    """Val and test scores at the revision that made a model, where they are of that model."""
    figures = maker.metrics
    if is_of_lock(maker, "train"):
        at = f"epoch {figures['train:best_epoch']} of {figures['train:epochs']}"
        yield f"val mAP@50 {figures['train:val_map50']:.3f}, mAP {figures['train:val_map']:.3f} ({at})"
    if is_of_lock(maker, "evaluate"):
        between = ""
        if "evaluate:map50_low" in figures:
            between = f" ({figures['evaluate:map50_low']:.3f}–{figures['evaluate:map50_high']:.3f})"
        yield f"test mAP@50 {figures['evaluate:map50']:.3f}{between}, mAP {figures['evaluate:map']:.3f}"
    else:
        yield "test: this model was not scored at that revision"


def is_of_lock(revision: Revision, name: str) -> bool:
    """Whether a stage's metrics file is the one in dvc.lock, and made from the outputs that are there."""
    path = revisions.METRICS[name]
    content = revision.read(path)
    if content is None or hashlib.md5(content).hexdigest() != revision.md5(path):
        return False
    return all(
        dep["md5"] == revision.md5(dep["path"]) for dep in revision.lock[name]["deps"] if revision.md5(dep["path"])
    )


def again(maker: Revision) -> str:
    """The command that makes a revision's model again."""
    if not maker.commit:
        return "dvc repro"
    if maker.base:
        return f"git checkout {maker.base[:10]} && dvc exp apply {maker.name} && dvc repro"
    return f"git checkout {maker.commit[:10]} && dvc repro"


def check(model: Model, maker: Revision) -> None:
    """Print what the hashes say; a UserError where one differs."""
    print(f"check      same: {len(model.files)} file{'s' * (len(model.files) > 1)}, against dvc.lock")
    differing = []
    for verdict, what in provenance.compare(model, maker):
        print(f"check      {verdict}: {what}")
        if verdict == "differs":
            differing.append(what)
    if differing:
        raise UserError(f"{model.source} does not agree with {title(maker)}: {'; '.join(differing)}")


def unknown(model: Model, root: Path) -> str:
    """Explain why no revision holds a model, and what to do."""
    count = len(provenance.commits(root))
    searched = f"{count} commits, {len(revisions.experiments(root))} experiments and the workspace"
    if maker := provenance.claimed(model.made_from, root):
        known = maker.md5(model.output)
        return (
            f"{model.source} is not what a stage wrote: {changed(model, known, root)}. It says that it was made from "
            f"what {title(maker)} has, where dvc.lock has {known} for {model.output}; it is {model.md5}. Bring the "
            f"right one with `dvc checkout {model.output}` or `dvc pull {model.output}`"
        )
    shallow = "`git fetch --unshallow` (this clone is shallow), " if provenance.is_shallow(root) else ""
    return (
        f"no revision here holds {model.source} ({model.md5}); searched dvc.lock in {searched}. If others made it: "
        f"{shallow}`git fetch --all --tags`, and `dvc exp pull` for experiments"
    )


def changed(model: Model, known: str | None, root: Path) -> str:
    """Files of a model that differ from the output with the hash `known`."""
    if not known:
        return "dvc.lock has none there"
    folder = subprocess.check_output([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, text=True).strip()
    listing = Path(folder, "files/md5", known[:2], known[2:])
    if not listing.is_file():
        return f"which file, DVC's cache here does not tell (`dvc fetch {model.output}` brings the list)"
    files = {row["relpath"]: row["md5"] for row in json.loads(listing.read_text())}
    names = sorted(name for name in files.keys() | model.files.keys() if files.get(name) != model.files.get(name))
    return f"{', '.join(names)} differ{'s' * (len(names) == 1)}"


if __name__ == "__main__":
    stage.run(main)
