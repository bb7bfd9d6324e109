"""The report reaches the pull request as one comment, whatever is installed and whatever fails.

Neither CML nor gh can be had from the package registries: executables of their names stand in for them. They keep the
comments of one pull request in a file, as far as scripts/comment.py needs it, and note how they were called.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_repo
from import_graph import ROOT

STAND_IN = r"""
import json, os, pathlib, re, sys

folder = pathlib.Path(os.environ["STATE"])
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open(folder / "calls", "a") as file:
    file.write(json.dumps([name, *arguments]) + "\n")
failures = folder / f"{name}-fails"
if failures.exists() and (left := int(failures.read_text())):
    failures.write_text(str(left - 1))
    sys.exit("HTTP 403: Resource not accessible by integration")
store = folder / "comments"
comments = json.loads(store.read_text()) if store.exists() else []

def put(number, body):
    assert len(body) <= 65536, "GitHub takes no more"
    if number is None:
        comments.append({"id": (number := 100 + len(comments)), "body": body})
    else:
        [comment] = [c for c in comments if c["id"] == number]
        comment["body"] = body
    store.write_text(json.dumps(comments))
    print(f"https://github.example/owner/name/pull/42#issuecomment-{number}")
"""
CML = r"""
options = dict(a[2:].split("=", 1) for a in arguments if a.startswith("--"))
assert arguments[:2] == ["comment", "update"] and len(arguments) == 6
assert options["target"] == "pr/42" and options["publish"] == "false"
title = f'CML watermark {options["watermark-title"]}'
known = re.compile(rf'!\[\]\(https://cml\.dev/watermark\.png#[0-9a-fA-F]+ "{title}"\)')
found = [c["id"] for c in comments if known.search(c["body"])]
body = pathlib.Path(arguments[-1]).read_text() + f'\n\n![](https://cml.dev/watermark.png#{"a" * 40} "{title}")'
put(found[-1] if found else None, body)
"""
GH = r"""
assert arguments[0] == "api"
comments_url = "repos/{owner}/{repo}/issues/42/comments"
if arguments[1].endswith("/pulls"):
    pulls = folder / "pulls"
    print(pulls.read_text() if pulls.exists() else "", end="")
elif arguments[1] == "--paginate":
    assert arguments[2:] == [comments_url, "--jq", ".[] | {id, body}"]
    print("\n".join(json.dumps(c) for c in comments))
else:
    assert arguments[1] == "--method" and arguments[4:] == ["--input", "-", "--jq", ".html_url"]
    method, url = arguments[2:4]
    one = re.fullmatch(r"repos/\{owner\}/\{repo\}/issues/comments/(\d+)", url)
    assert (method == "PATCH") == bool(one) and (one or (method, url) == ("POST", comments_url))
    put(int(one[1]) if one else None, json.load(sys.stdin)["body"])
"""
RUN = {"GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "owner/name", "GITHUB_RUN_ID": "7"}
LINK = "https://github.example/owner/name/actions/runs/7"
REPORT = "# What the change does\n\nval mAP@50 0.70 → 0.74 ↑\n"
MARKER = "<!-- plant-disease-report -->"


class PullRequest:
    """A clone with a report, and a pull request whose comments the stand-ins keep."""

    def __init__(self, folder: Path):
        self.clone, self.state, self.programs = folder / "clone", folder / "state", folder / "programs"
        for path in (self.clone / "results", self.state, self.programs):
            path.mkdir(parents=True)
        (self.clone / "results/report.md").write_text(REPORT)
        small_repo.git(self.clone, "init", "-q", "-b", "main")
        small_repo.git(self.clone, "commit", "-q", "--allow-empty", "-m", "a change")
        for name in ("git", "env"):
            (self.programs / name).symlink_to(shutil.which(name))

    def install(self, **programs: str) -> None:
        for name, text in programs.items():
            path = self.programs / name
            path.write_text(f"#!{sys.executable}\n{STAND_IN}{text}")
            path.chmod(0o755)

    def fail(self, name: str, times: int) -> None:
        (self.state / f"{name}-fails").write_text(str(times))

    def post(self, *options: str, **environment: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-S", ROOT / "scripts/comment.py", "results/report.md", *options]
        return subprocess.run(
            command,
            cwd=self.clone,
            env={"PATH": str(self.programs), "STATE": str(self.state), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def comments(self) -> list[str]:
        path = self.state / "comments"
        return [comment["body"] for comment in json.loads(path.read_text())] if path.exists() else []

    @property
    def tools(self) -> list[str]:
        path = self.state / "calls"
        return [json.loads(line)[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def pull_request(tmp_path) -> PullRequest:
    return PullRequest(tmp_path)


def test_cml_posts_it_and_the_next_push_replaces_it(pull_request):
    pull_request.install(cml=CML, gh=GH)
    done = pull_request.post("--pull-request", "42")
    assert done.returncode == 0, done.stdout
    assert "cml: https://github.example/owner/name/pull/42#issuecomment-100" in done.stdout
    (pull_request.clone / "results/report.md").write_text(f"{MARKER}\n# The second\n")
    assert pull_request.post(PULL_REQUEST="42").returncode == 0
    (body,) = pull_request.comments
    assert body.startswith(f"{MARKER}\n# The second\n") and "0.74" not in body and body.count(MARKER) == 1
    assert pull_request.tools == ["cml", "cml"]


def test_gh_posts_it_where_cml_is_not_installed(pull_request):
    pull_request.install(gh=GH)
    for text in (REPORT, "# The second\n"):
        (pull_request.clone / "results/report.md").write_text(text)
        done = pull_request.post("--pull-request", "42")
        assert done.returncode == 0, done.stdout
        assert "gh: https://github.example/owner/name/pull/42#issuecomment-100" in done.stdout
    (body,) = pull_request.comments
    assert body.startswith(f"{MARKER}\n# The second\n")


def test_where_cml_fails_gh_takes_over_its_comment_and_cml_that_of_gh(pull_request):
    pull_request.install(cml=CML, gh=GH)
    assert pull_request.post("--pull-request", "42").returncode == 0
    pull_request.fail("cml", 1)
    done = pull_request.post("--pull-request", "42")
    assert done.returncode == 0, done.stdout
    assert "cml could not post the comment (cml: HTTP 403" in done.stdout and "gh: https" in done.stdout
    assert pull_request.post("--pull-request", "42").returncode == 0
    assert len(pull_request.comments) == 1
    assert [tool for tool in pull_request.tools if tool == "cml"] == ["cml"] * 3


@pytest.mark.parametrize(("given", "tool"), [("right", "cml"), ("wrong", "gh"), ("", "cml")])
def test_cml_is_run_only_where_its_binary_has_the_hash_that_is_given(pull_request, given, tool):
    """It is downloaded, and gets a token that may write comments. On one's own machine no hash is asked for."""
    pull_request.install(cml=CML, gh=GH)
    found = hashlib.sha256((pull_request.programs / "cml").read_bytes()).hexdigest()
    wanted = {"right": found.upper(), "wrong": "0" * 64, "": ""}[given]
    done = pull_request.post("--pull-request", "42", CML_SHA256=wanted)
    assert done.returncode == 0, done.stdout
    assert set(pull_request.tools) == {tool}
    assert (f"has the SHA-256 {found}, and CML_SHA256 says" in done.stdout) == (given == "wrong")


def test_comments_of_people_stay_as_they_are(pull_request):
    pull_request.install(gh=GH)
    people = [{"id": 1, "body": "looks good"}, {"id": 2, "body": f"> {MARKER}\n> 0.74, really?"}]
    (pull_request.state / "comments").write_text(json.dumps(people))
    assert pull_request.post("--pull-request", "42").returncode == 0
    assert pull_request.comments[:2] == [comment["body"] for comment in people]
    assert len(pull_request.comments) == 3


def test_a_passing_failure_of_gh_is_tried_again(pull_request):
    pull_request.install(gh=GH)
    pull_request.fail("gh", 1)
    done = pull_request.post("--pull-request", "42")
    assert done.returncode == 0, done.stdout
    assert len(pull_request.comments) == 1


@pytest.mark.parametrize(
    "installed", [{"cml": CML, "gh": GH}, {"gh": GH}, {}], ids=["both fail", "gh fails", "neither"]
)
def test_unposted_comment_is_in_the_summary_and_fails_with_the_remedy(pull_request, installed):
    pull_request.install(**installed)
    for name in installed:
        pull_request.fail(name, 9)
    summary = pull_request.state / "summary.md"
    done = pull_request.post("--pull-request", "42", GITHUB_STEP_SUMMARY=str(summary), **RUN)
    assert done.returncode == 1
    assert "no comment on pull request 42" in done.stdout and "pull-requests: write" in done.stdout
    assert f"the report is in the summary of {LINK}" in done.stdout
    assert ("HTTP 403" in done.stdout) == bool(installed) and "Traceback" not in done.stdout
    assert REPORT.strip() in summary.read_text()


def test_the_summary_has_it_when_the_comment_is_posted_too(pull_request):
    pull_request.install(gh=GH)
    summary = pull_request.state / "summary.md"
    summary.write_text("what an earlier step wrote\n")
    assert pull_request.post("--pull-request", "42", GITHUB_STEP_SUMMARY=str(summary), **RUN).returncode == 0
    assert summary.read_text().startswith("what an earlier step wrote\n") and "0.74" in summary.read_text()


def test_a_missing_report_is_said_in_the_comment_with_the_log(pull_request):
    pull_request.install(cml=CML)
    (pull_request.clone / "results/report.md").unlink()
    done = pull_request.post("--pull-request", "42", TRAINING="failure", EXPERIMENT="ci-7-1", **RUN)
    assert done.returncode == 0, done.stdout
    (body,) = pull_request.comments
    assert body.startswith(f"{MARKER}\n### No report") and LINK in body and "ci-7-1" not in body


def test_a_missing_report_on_ones_own_machine_is_a_mistake_with_the_remedy(pull_request):
    pull_request.install(gh=GH)
    (pull_request.clone / "results/report.md").unlink()
    done = pull_request.post("--pull-request", "42")
    assert done.returncode == 1 and "make report" in done.stdout and not pull_request.tools


def test_a_failure_after_the_training_stands_above_the_report(pull_request):
    pull_request.install(gh=GH)
    assert pull_request.post("--pull-request", "42", TRAINING="failure", **RUN).returncode == 0
    (body,) = pull_request.comments
    assert body.index("Something failed after the training") < body.index(LINK) < body.index("0.74")


def test_the_comment_says_how_to_apply_the_experiment(pull_request):
    pull_request.install(gh=GH)
    assert pull_request.post("--pull-request", "42", TRAINING="success", EXPERIMENT="ci-7-1").returncode == 0
    (body,) = pull_request.comments
    assert "`dvc exp pull origin ci-7-1`" in body and "`dvc exp apply ci-7-1`" in body and "failed" not in body


def test_without_a_number_it_is_the_pull_request_of_this_commit(pull_request):
    pull_request.install(gh=GH)
    (pull_request.state / "pulls").write_text("42\n")
    done = pull_request.post(PULL_REQUEST="")
    assert done.returncode == 0, done.stdout
    assert len(pull_request.comments) == 1
    head = small_repo.git(pull_request.clone, "rev-parse", "HEAD").strip()
    asked = json.loads((pull_request.state / "calls").read_text().splitlines()[0])
    assert asked[2].endswith(f"/commits/{head}/pulls") and f'.head.sha == "{head}"' in asked[4]


def test_where_there_is_no_pull_request_the_summary_is_all(pull_request):
    pull_request.install(gh=GH, cml=CML)
    summary = pull_request.state / "summary.md"
    done = pull_request.post(GITHUB_STEP_SUMMARY=str(summary), **RUN)
    assert done.returncode == 0, done.stdout
    assert "no open pull request" in done.stdout and LINK in done.stdout
    assert "0.74" in summary.read_text() and not pull_request.comments


def test_long_report_is_cut_between_paragraphs_with_a_link(pull_request):
    pull_request.install(gh=GH)
    long = REPORT + "\n<details><summary>classes</summary>\n" + "\n| apple | 0.5 → 0.6 ↑ |\n" * 5000 + "\n</details>\n"
    (pull_request.clone / "results/report.md").write_text(long)
    done = pull_request.post("--pull-request", "42", **RUN)
    assert done.returncode == 0, done.stdout
    (body,) = pull_request.comments
    assert 60_000 < len(body) <= 65_536
    assert body.count("<details") == body.count("</details>") and LINK in body
    assert all(line in ("", "| apple | 0.5 → 0.6 ↑ |") for line in body.splitlines()[6:-6])


@pytest.mark.parametrize("number", ["forty-two", "42; rm -rf ."])
def test_a_number_that_is_none_is_refused(pull_request, number):
    pull_request.install(gh=GH)
    done = pull_request.post("--pull-request", number)
    assert done.returncode == 1 and "number of a pull request" in done.stdout and not pull_request.tools
