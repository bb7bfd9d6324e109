"""Run the pipeline: `dvc repro`, and at its end the score, the minutes, and what to do next.

    python scripts/repro.py                  what is new or changed
    python scripts/repro.py augment          up to a stage; all arguments go to `dvc repro`

Output, exit code and Ctrl-C are those of `dvc repro`. Before it, all of params.yaml is checked, so that a mistake in
`deploy` does not show after the training: a stage checks the sections that it reads. A fetch.source inside an output of
a stage is refused, since DVC would delete it. Then the run cache is asked for
each stage whose outputs in dvc.lock are not in the cache: an earlier result of the same inputs is used where the cache
has one, and the stage does not run again.
Where this machine computes other results than the one that made the committed dvc.lock, the summary compares them and
says how to keep and how to drop them.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, params, workspace
from plantdoc.core.errors import UserError
from plantdoc.fetch import source_place
from plantdoc.repo import commands, revisions
from plantdoc.repro import run_cache, summary
from plantdoc.settings import all_params

# Options of `dvc repro` with which the run cache is not asked, or nothing is run.
WITHOUT_RUN_CACHE = ("f", "force", "dry", "no-run-cache", "pull")
WITHOUT_SUMMARY = ("q", "quiet", "dry")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    _, arguments = parser.parse_known_args()
    arguments = [entry.given_or_name(word) for word in arguments]
    try:
        commands.repository()
        source = params.load(all_params.Params).fetch.source
        source_place.refuse_outputs(source, workspace.main_root())
    except UserError as error:
        print(f"repro: {error}", file=sys.stderr)
        return 1
    before(arguments)
    costs = summary.costs_of(revisions.find())
    code = dvc_repro(arguments)
    if code == 0 and not asked(arguments, WITHOUT_SUMMARY):
        after(costs)
    return code


def asked(arguments: list[str], options: tuple[str, ...]) -> bool:
    """Whether one of the options is among the arguments, short ones also joined, as in `-fs`."""
    given = set()
    for word in arguments:
        given |= {word[2:]} if word.startswith("--") else set(word[1:]) if re.fullmatch("-[a-zA-Z]+", word) else set()
    return bool(given & set(options))


def before(arguments: list[str]) -> None:
    """Say what the first run will take, and take earlier results from the run cache."""
    try:
        here = revisions.find()
        if not arguments and (words := summary.first_run(here)):
            print(words, flush=True)
        if not asked(arguments, WITHOUT_RUN_CACHE):
            for name in run_cache.restore(here):
                print(
                    f"{name}: the outputs that dvc.lock names are not in the cache here; an earlier result of the same "
                    "code, data and params is, and is used",
                    flush=True,
                )
    except UserError:
        pass  # a file that cannot be read: `dvc repro` reads it next, and says so


def dvc_repro(arguments: list[str]) -> int:
    """Run `dvc repro` and return its exit code; signals end it, and then this process."""
    # The terminal sends Ctrl-C to dvc too, which ends in its own way. A handler, as SIG_IGN would be inherited.
    signal.signal(signal.SIGINT, lambda *_: None)
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", *arguments])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: dvc.send_signal(received))
    code = dvc.wait()
    return code if code >= 0 else 128 - code


def after(costs: dict[str, dict]) -> None:
    """Print the summary."""
    try:
        found = summary.lines(revisions.find(), costs)
    except UserError as error:
        print(f"no summary: {error}", file=sys.stderr)
        return
    print("\n" + summary.text(found, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))


if __name__ == "__main__":
    try:
        entry.start(__file__)
        with entry.whole_output():
            code = main()
        sys.exit(code)
    except KeyboardInterrupt:  # before dvc has started
        print("repro: interrupted", file=sys.stderr)
        sys.exit(130)
