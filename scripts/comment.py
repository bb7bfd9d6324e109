"""Post a report as a comment on a pull request, in the place of the one posted before.

    python scripts/comment.py results/report.md --pull-request 42

CML posts it where it is installed, else, or where CML fails, GitHub's own `gh`: whichever comes later finds the
comment of the other. In a GitHub workflow the report goes into the run's summary first, so that it cannot be lost; a
report that is missing there gives a comment that says so. Without --pull-request it is the open one of the checked out
commit; where there is none, the summary is all.

Reads from the environment GITHUB_TOKEN (on one's own machine `gh auth login` does), PULL_REQUEST, EXPERIMENT (named in
the comment, with what applies it), TRAINING (how the training ended, if not with "success"), CML_SHA256 (the hash of
CML's binary: another one is not run) and what GitHub sets in every run. Needs no package, so that it runs where nothing
is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry
from plantdoc.core.errors import UserError
from plantdoc.report.markdown import MARKER

TITLE = "plant-disease-report"
# By these words CML knows its own comment again; on comments from gh too, so that it takes them over.
WATERMARK = f'![](https://cml.dev/watermark.png#{{commit}} "CML watermark {TITLE}")'
LIMIT = 65_536 - 200  # characters GitHub takes, less the watermark
TIMEOUT = 120  # s, for each call of a tool
PAUSE = 2  # s, before gh is tried a second time

log = logging.getLogger("plantdoc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="Markdown file, pictures by URL")
    parser.add_argument(
        "--pull-request", default=os.environ.get("PULL_REQUEST"), metavar="NUMBER", help="default: of this commit"
    )
    arguments = parser.parse_args()
    text = compose(entry.given(arguments.report))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    number = arguments.pull_request or of_commit(commit())
    if not number:
        log.info("this commit is in no open pull request, so there is no comment%s", reached())
        return
    if not str(number).isdecimal():
        raise UserError(f"--pull-request {number}: give the number of a pull request")
    post(shorten(text), str(number))


def compose(report: Path) -> str:
    """The comment's text: marker, what went wrong, the report, how to apply the experiment."""
    link = run_link()
    if not report.is_file():
        if not link:
            raise UserError(f"{report} is missing: `make report` writes it")
        return f"{MARKER}\n### No report\n\nThe training ended without one: [its log]({link}) says why."
    parts = [MARKER]
    if os.environ.get("TRAINING", "success") != "success":
        parts.append(f"> **Something failed after the training.** [The log]({link}) says what; the report is whole.\n")
    parts.append(report.read_text(encoding="utf-8").removeprefix(MARKER).strip())
    if name := os.environ.get("EXPERIMENT"):
        parts.append(f"\nTo apply it: `dvc exp pull origin {name}`, `dvc exp apply {name}`, then commit.")
    return "\n".join(parts)


def shorten(text: str) -> str:
    """The text within GitHub's limit: whole paragraphs from the top, then where the rest is."""
    if len(text) <= LIMIT:
        return text
    rest = f"\n\n*The report is longer than a comment may be; the whole is in {run_link() or 'results/report.md'}.*"
    closing = "\n\n</details>"
    room = LIMIT - len(rest) - len(closing) * text.count("<details")
    kept = text[:room].rpartition("\n\n")[0] or text[:room]
    return kept + closing * (kept.count("<details") - kept.count("</details>")) + rest


def post(text: str, number: str) -> None:
    """Create the comment or replace the earlier one: by CML, then by gh, then by gh again.

    Raises:
        UserError: none of them could, with what each said.
    """
    said = []
    for tool, send, pause in (("cml", by_cml, 0), ("gh", by_gh, 0), ("gh", by_gh, PAUSE)):
        if not (program := shutil.which(tool)):
            said.append(f"{tool} is not installed")
            continue
        if tool == "cml" and (other := unknown_cml(program)):
            log.warning("%s", other)
            said.append(other)
            continue
        time.sleep(pause)
        try:
            log.info("%s: %s", tool, send(text, number))
            return
        except UserError as error:
            log.info("%s could not post the comment (%s)", tool, error)
            said.append(str(error))
    raise UserError(
        f"no comment on pull request {number}: {'; '.join(dict.fromkeys(said))}. `gh auth status` says whether you are "
        f"logged in; in a workflow the job needs `pull-requests: write`{reached()}"
    )


def unknown_cml(program: str) -> str:
    """Why CML's binary must not get the token: its hash is not CML_SHA256; empty where it is, or none is asked for."""
    wanted = os.environ.get("CML_SHA256", "").strip().lower()
    with open(program, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not wanted or found == wanted:
        return ""
    return f"cml is not run: {program} has the SHA-256 {found}, and CML_SHA256 says {wanted}"


def by_cml(text: str, number: str) -> str:
    """Post by CML; returns the comment's URL. `update` creates the comment where there is none."""
    with tempfile.NamedTemporaryFile("w", suffix=".md", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        target, title = f"--target=pr/{number}", f"--watermark-title={TITLE}"
        # Not published: pictures stand in the report by URL, and CML's own upload breaks on Node 20.
        return call("cml", "comment", "update", target, title, "--publish=false", file.name)


def by_gh(text: str, number: str) -> str:
    """Post by gh; returns the comment's URL."""
    comments = f"repos/{{owner}}/{{repo}}/issues/{number}/comments"
    listed = call("gh", "api", "--paginate", comments, "--jq", ".[] | {id, body}")
    ours = [row["id"] for row in map(json.loads, listed.splitlines()) if row["body"].startswith(MARKER)]
    url = f"repos/{{owner}}/{{repo}}/issues/comments/{ours[-1]}" if ours else comments
    body = json.dumps({"body": f"{text}\n\n{WATERMARK.format(commit=commit())}"})
    method = "PATCH" if ours else "POST"
    return call("gh", "api", "--method", method, url, "--input", "-", "--jq", ".html_url", stdin=body)


def of_commit(sha: str) -> str:
    """The number of the open pull request that a commit is the head of; empty where none is known."""
    if not shutil.which("gh"):
        return ""
    query = f'.[] | select(.state == "open" and .head.sha == "{sha}") | .number'
    return call("gh", "api", f"repos/{{owner}}/{{repo}}/commits/{sha}/pulls", "--jq", query).partition("\n")[0]


def commit() -> str:
    return call("git", "rev-parse", "HEAD")


def run_link() -> str:
    """The page of the workflow run; empty outside of one."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name) for name in names)
    return f"{server}/{repository}/actions/runs/{run}" if run else ""


def reached() -> str:
    return f"; the report is in the summary of {run_link()}" if os.environ.get("GITHUB_STEP_SUMMARY") else ""


def call(*command: str, stdin: str | None = None) -> str:
    """Run a command; returns its output, stripped, or raises a UserError with the end of its error output."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} did not answer within {TIMEOUT} s") from None
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise UserError(f"{command[0]}: {' '.join(complaint) or f'exit {done.returncode}'}")
    return done.stdout.strip()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    entry.start(__file__)
    try:
        with entry.whole_output():
            main()
    except UserError as error:
        sys.exit(f"comment: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
