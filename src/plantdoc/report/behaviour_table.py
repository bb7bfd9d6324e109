"""Table of the behavioural tests (plantdoc.deploy.behaviour) of two revisions."""

from __future__ import annotations

from plantdoc.repo.revisions import Revision
from plantdoc.report import git_files, markdown
from plantdoc.report.markdown import score

PATH = "results/deploy/behaviour.json"


def rows(before: Revision, after: Revision) -> list[str]:
    """A table of what is kept, with the least that is asked for; nothing where `after` was not tried."""
    old, new = _tests(before), _tests(after)
    found = []
    for name, test in new.items():
        values = [_value(old.get(name)), _value(test)]
        least = f"{test.get('least', 0):g}"
        found.append((name.replace("_", " "), *values, least, "yes" if test.get("passed") else "**no**"))
    if not found:
        return []
    head = ("test", "before", "after", "at least", "passed")
    return ["### Behaviour on changed pictures", *markdown.table(head, found, numbers=(1, 2, 3))]


def _tests(revision: Revision) -> dict[str, dict]:
    content = git_files.read_json(revision, PATH)
    named = content.items() if isinstance(content, dict) else ()
    return {name: test for name, test in named if isinstance(test, dict)}


def _value(test: dict | None) -> str:
    value = (test or {}).get("kept", (test or {}).get("share"))
    return "–" if value is None else score(value)
