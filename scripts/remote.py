"""Push to and pull from DVC's remote, and when that fails say what is wrong with the remote and what to do.

    python scripts/remote.py push                   dvc push
    python scripts/remote.py pull train deploy      dvc pull train deploy
    python scripts/remote.py pull --run-cache       any option of DVC's own
    python scripts/remote.py repair                 sends again what the remote has lost or has damaged

Push and pull are DVC's: they move what is not there yet, and run again they go on where they stopped. Repair reads
every object of this revision in the remote, and replaces those that are missing or wrong there and right in this
clone's cache. A plain push does not: DVC takes a folder for pushed once its list of files is there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import dvc_config, entry, stage
from plantdoc.core.errors import UserError
from plantdoc.remote import cached_outputs, dvc_remote, remote_config, verify
from plantdoc.repo import commands, names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["push", "pull", "repair"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="targets and options", help="as DVC takes them")
    arguments = parser.parse_args()
    rest = [entry.given_or_name(word) for word in arguments.rest]
    for word in rest:
        if not word.startswith("-") and "--glob" not in rest:
            names.checked_or_path(word, "a stage or an output")
    commands.repository()
    if arguments.action == "repair":
        repair(rest)
    elif dvc(arguments.action, *rest):
        diagnose(arguments.action, targets=[word for word in rest if not word.startswith("-")])


def dvc(*words: str) -> int:
    """Run DVC in this terminal, with this Python; returns its exit code."""
    return subprocess.run([sys.executable, "-m", "dvc", *words]).returncode


def diagnose(action: str, targets: list[str]) -> None:
    """Raise a UserError that says what is wrong with the remote, as far as it is the remote."""
    there = remote_config.default()
    faults = {}
    with dvc_remote.opened(there) as storage:
        if action == "push":
            storage.try_to_write()
        else:
            storage.reach()
            cache = dvc_remote.Folder(cached_outputs.cache().parent.parent)
            lacking = [each for each in verify.objects(targets, cache, storage) if verify.state(each, cache)]
            faults = verify.states(lacking, storage)
    if faults:
        raise UserError(describe(faults, there, targets))
    raise UserError(
        f"dvc {action} failed, and the remote {there.url} answers now: if it was away for a moment, run the same "
        "command again, it continues where it stopped; else DVC's own message above says why"
    )


def describe(faults: dict[verify.Object, str], there: dvc_config.Remote, targets: list[str]) -> str:
    """Describe damaged objects and who can repair them."""
    named = [f"{fault.path} is {state} ({fault.md5})" for fault, state in list(faults.items())[:5]]
    if len(faults) > 5:
        named.append(f"and {len(faults) - 5} more")
    missing = {fault.md5 for fault, state in faults.items() if state == verify.MISSING}
    if all(fault.md5 in missing and fault.listing in missing for fault in faults):
        remedy = "was it pushed? Run `make push` in the clone that made it, then the same command here"
    else:
        remedy = "run `python scripts/remote.py repair` in a clone that has it, then the same command here"
    again = f"`dvc repro {' '.join(targets)}`".replace(" `", "`")
    return f"the remote {there.url}: {', '.join(named)}; {remedy}. Where no clone has it, {again} makes it again"


def repair(targets: list[str]) -> None:
    """Replace what the remote lacks or has wrong, as far as this clone's cache has it."""
    there = remote_config.default()
    cache = dvc_remote.Folder(cached_outputs.cache().parent.parent)
    with dvc_remote.opened(there) as storage:
        faults = verify.states(verify.objects(targets, cache, storage), storage)
        # Lists last: DVC takes what they name for pushed.
        for fault in sorted(faults, key=lambda fault: fault.md5 == fault.listing):
            if verify.state(fault, cache) is None:
                storage.put(cache.path / fault.key, fault.key)
                print(f"{fault.path} was {faults.pop(fault)}: sent again")
    if faults:
        raise UserError(describe(faults, there, targets))
    print(f"the remote {there.url} has all of it, with the right bytes")


if __name__ == "__main__":
    stage.run(main)
