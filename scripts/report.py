"""Write results/report.md: what a change does to the detector, for the reviewer of a pull request.

    python scripts/report.py                          compares main with the workspace
    python scripts/report.py v1.0 lr-0.2              any branch, tag, commit or experiment with any other
    python scripts/report.py main workspace --publish

Pictures go to results/report/ and are linked from there. With --publish they also go to the branch report-pictures of
the git remote origin, and the report links them on GitHub; in a repository that is not known to be private only
charts and pictures of the sample do. The report fits into one comment.

Costs about five seconds; longer where data of a revision must come from the remote first.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.core.workspace import scratch
from plantdoc.repo import names, revisions
from plantdoc.repo.revisions import Revision
from plantdoc.report import behaviour_table, changes, costs, figures, publishing
from plantdoc.report.markdown import MARKER, code, picture

log = logging.getLogger("plantdoc")
REPORT, PICTURES, SCRATCH = Path("results/report.md"), Path("results/report"), ".dvc/tmp/plantdoc/report"
LONGEST = 60_000  # bytes; GitHub takes comments of 65,536 characters, and CML adds a line of its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", default="main", help="a branch, tag, commit or experiment (main)")
    parser.add_argument("after", nargs="?", default=revisions.WORKSPACE, help="the same, or `workspace`, the default")
    parser.add_argument("--publish", action="store_true", help="push the pictures and link them on GitHub")
    arguments = parser.parse_args()
    for name in (arguments.before, arguments.after):
        names.checked(name, "a branch, tag, commit or experiment")
    before, after = revisions.find(arguments.before), revisions.find(arguments.after)
    for revision in (before, after):
        _ = revision.params, revision.lock, revision.metrics  # a broken file stops here, before anything is written
    if figures.MAIN not in before.metrics and figures.MAIN not in after.metrics:
        raise UserError(f"neither {before.name} nor {after.name} has test scores: run `dvc repro`, then this again")

    from plantdoc.report import charts  # not for --help: Matplotlib takes a second

    with scratch(SCRATCH) as work:
        difference = changes.test_difference(before, after, work)
        with stage.replacing(PICTURES) as folder:
            charts.learning(before, after, folder)
            charts.precision_recall(before, after, folder)
            sheets, notes, ours = draw_sheets(before, after, difference, folder, work)
    report = Report(before, after, difference, sheets, notes, stale(before, after), costs.table(before, after))
    drawn = sorted(path.name for path in PICTURES.iterdir())
    write(compose(report, {name: f"{PICTURES.name}/{name}" for name in drawn}))
    if arguments.publish:
        publish(report, drawn, ours)
    print(REPORT)


@dataclass(frozen=True)
class Report:
    """All that stands in the report but where its pictures are. `sheets` are (what it shows, file name)."""

    before: Revision
    after: Revision
    difference: str
    sheets: list[tuple[str, str]]
    notes: list[str]
    stale: list[str]
    costs: list[str]


def draw_sheets(
    before: Revision, after: Revision, difference: str, folder: Path, work: Path
) -> tuple[list[tuple[str, str]], list[str], bool]:
    """Draw six test pictures into `folder`; returns them, what to say about them, and whether they are the sample's."""
    from plantdoc.report import pictures

    try:
        split, files, origin = pictures.load(after, work)
        new = pictures.detections(after, split, work)
    except UserError as error:
        return [], [without("No test pictures", error)], False
    old, notes = None, []
    if figures.MAIN in before.metrics and not difference:
        try:
            old = pictures.detections(before, split, work)
        except UserError as error:
            notes.append(without("The boxes found before are not shown", error))
    sheets = []
    for number, (why, chosen) in enumerate(pictures.choose(split, old, new, after.params["seed"]), start=1):
        f1 = [f"{one.f1[chosen.id]:.2f}" for one in (old, new) if one]
        title = f"{why}: {chosen.file_name}, F1 {' to '.join(f1)}"
        sheet = pictures.draw(chosen, files[chosen.file_name], split.classes, old, new, title, origin["note"])
        name = f"picture-{number}.jpg"
        sheet.save(folder / name, quality=85)
        sheets.append((f"{why.capitalize()}: {code(chosen.file_name)}, F1 {' → '.join(f1)}", name))
    return sheets, notes, origin["source"] == "sample"


def without(what: str, error: UserError) -> str:
    """A line that says what the report lacks and why; it goes to the log as well."""
    log.info("%s: %s", what.lower(), error)
    return f"{what}: {code(error, longest=300)}"


def publish(report: Report, drawn: list[str], ours: bool) -> None:
    """Push what may be seen, and write the report again with links to it; where that fails, with no pictures."""
    notes = report.notes
    if not ours and report.sheets and not publishing.is_private():
        sheets = {name for _, name in report.sheets}
        drawn = [name for name in drawn if name not in sheets]
        notes = [*notes, "Test pictures are left out: the repository is not known to be private, and only pictures of "
                 "the sample may be published."]  # fmt: skip
    commit = report.after.commit or revisions.find("HEAD").commit
    try:
        address = publishing.push(Path.cwd(), [PICTURES / name for name in drawn], commit) if drawn else ""
    except UserError:
        write(compose(replace(report, notes=[*notes, "The pictures could not be published; the log says why."]), {}))
        raise
    write(compose(replace(report, notes=notes), {name: f"{address}/{name}?raw=true" for name in drawn}))


def compose(report: Report, links: dict[str, str]) -> str:
    """The report as Markdown, with the pictures that `links` has; tables are cut as far as a comment's length asks."""
    for most in (400, 200, 100, 50, 20):
        text = "\n".join(lines(report, links, most)) + "\n"
        if len(text.encode()) <= LONGEST:
            break
    return re.sub(r"\n{3,}", "\n\n", text)


def lines(report: Report, links: dict[str, str], most: int) -> list[str]:
    """The report line by line; tables of params and classes have at most `most` rows."""
    before, after, difference = report.before, report.after, report.difference
    found = [MARKER, figures.verdict(before, after, difference), ""]
    found += [f"Before: {described(before)}. After: {described(after)}.", ""]
    found += report.stale
    found += ["### What changed", *changes.params(before, after, most), *changes.code(before, after)]
    found += changes.audit(before, after)
    found += ["### Scores", *figures.metrics(before, after, difference)]
    found += ["### Classes, the largest changes first", *figures.classes(before, after, difference, most)]
    found += behaviour_table.rows(before, after)
    found += ["### Curves", "", *chart(links, "learning", "Training losses and val mAP by epoch", width=860)]
    found += chart(links, "precision-recall", "Precision against recall on test", width=500)
    found += ["### Test pictures", "", *(f"{note}\n" for note in report.notes)]
    for what, name in report.sheets:
        if name in links:
            found += [what, "", picture(links[name], "Truth and predictions"), ""]
    return [*found, "### Time and cost", *report.costs]


def stale(*compared: Revision) -> list[str]:
    """A warning for each revision whose results are older than what should have made them."""
    return [
        f"**The results of {code(revision.name)} are not of its own code and params**: {', '.join(reasons)}. "
        "Run `dvc repro` there and commit what it changes.\n"
        for revision in dict.fromkeys(compared)
        if (reasons := changes.stale(revision))
    ]


def described(revision: Revision) -> str:
    """A revision's name and commit."""
    commit = revision.commit[:7] or f"on {revisions.find('HEAD').commit[:7]}"
    return f"{code(revision.name)} ({commit})"


def chart(links: dict[str, str], name: str, alt: str, width: int) -> list[str]:
    """A chart for light and dark pages, if it was drawn and can be seen."""
    light, dark = f"{name}-light.png", f"{name}-dark.png"
    return [picture(links[light], alt, links[dark], width), ""] if light in links else []


def write(text: str) -> None:
    """Put the report into its place."""
    with stage.replacing(REPORT, folder=False) as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    stage.run(main)
