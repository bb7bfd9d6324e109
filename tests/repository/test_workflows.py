"""The workflows are in form, ask for as little as they need, and run nothing that a person could not run."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import environments
import external_programs
import fake_repo
import pytest
import script_runner
import small_repo
import stack_policies
from import_graph import ROOT
from ruamel.yaml import YAML

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
# What a job may do with the repository's token, and no more.
PERMISSIONS = {
    "test.test": {"contents": "read"},
    "train.train": {"contents": "write", "id-token": "write"},
    "train.comment": {"contents": "read", "pull-requests": "write"},
    "deploy.bundle": {"contents": "read", "id-token": "write"},
}
# Single commands, nothing for a shell to join, redirect or expand but one variable.
COMMAND = "|".join(
    (
        r"make [a-z-]+",
        r"bash \.ci/run",
        r"(\.venv/bin/python|python3) scripts/[a-z_]+\.py",
        r"\.venv/bin/dvc [a-z]+",
        "gh auth setup-git",
    )
)
WORDS = r'( [\w./=-]+| \w+="\$[A-Z]+"| "\$NAME")*'
VARIABLES = {"FOR", "FROM", "NAME", "PUBLISH", "PYTHON", "RUNNER", "SET", "TO"}


def load(path: Path) -> dict:
    return YAML(typ="safe").load(path)


def jobs() -> dict[str, dict]:
    return {f"{path.stem}.{name}": job for path in WORKFLOWS for name, job in load(path)["jobs"].items()}


def steps() -> list[dict]:
    return [step for job in jobs().values() for step in job["steps"]]


def run_lines() -> list[str]:
    return [line for step in steps() for line in step.get("run", "").splitlines()]


def program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def test_there_is_one_workflow_for_each_purpose():
    assert [path.name for path in WORKFLOWS] == ["deploy.yaml", "test.yaml", "train.yaml"]


def test_they_are_in_githubs_form():
    for schema, files in (("workflows", WORKFLOWS), ("dependabot", [ROOT / ".github/dependabot.yml"])):
        name = f"vendor.github-{schema}" if schema == "workflows" else f"vendor.{schema}"
        done = subprocess.run(
            [program("check-jsonschema"), "--builtin-schema", name, *files], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_and_nothing_is_hidden_from_it():
    done = subprocess.run(
        [program("zizmor"), "--offline", "--no-progress", ROOT / ".github"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "No findings to report" in done.stdout + done.stderr
    assert "zizmor:" not in "".join(path.read_text() for path in WORKFLOWS)
    assert not list((ROOT / ".github").glob("**/zizmor.y*ml"))


@pytest.mark.full
def test_actionlint_finds_nothing(tmp_path):
    actionlint = environments.actionlint()
    done = subprocess.run([actionlint, f"{ROOT}/.github/workflows/*.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Checking 3 workflow" in done.stdout
    # and it does see a mistake
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((ROOT / ".github/workflows/train.yaml").read_text().replace("needs: train", "needs: trian"))
    done = subprocess.run([actionlint, str(wrong)], capture_output=True, text=True)
    assert done.returncode == 1 and "trian" in done.stdout


def test_actions_are_pinned_by_commit_with_their_version():
    text = "".join(path.read_text() for path in WORKFLOWS)
    used = re.findall(r"uses: *(\S+)(.*)", text)
    assert len(used) == sum("uses" in step for step in steps()) > 0
    pins: dict[str, set] = {}
    for action, comment in used:
        name, at, commit = action.partition("@")
        assert at and re.fullmatch(r"[0-9a-f]{40}", commit), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}{comment}"
        pins.setdefault(name, set()).add((commit, comment))
    assert all(len(versions) == 1 for versions in pins.values()), pins


def test_permissions_are_those_of_the_table():
    found = {}
    for path in WORKFLOWS:
        workflow = load(path)
        for name, job in workflow["jobs"].items():
            found[f"{path.stem}.{name}"] = job.get("permissions", workflow["permissions"])
    assert found == PERMISSIONS
    assert all(load(path)["permissions"] in ({}, {"contents": "read"}) for path in WORKFLOWS)


def test_no_secret_is_named_and_no_fork_gets_the_rights_of_the_repository():
    for path in WORKFLOWS:
        text = path.read_text()
        assert "secrets" not in text and "AKIA" not in text, path
        assert not {"pull_request_target", "workflow_run"} & set(load(path)["on"]), path
    for step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


TOKEN = "token.actions.githubusercontent.com"
LONGEST = 21600  # seconds that TrainRole allows a session to last
ROLES = {"train.train": "TrainRole", "deploy.bundle": "DeployRole"}


def test_a_job_asks_for_an_identity_only_to_take_its_role_and_ends_in_time():
    for name, job in jobs().items():
        asked = {json.dumps(step["with"]) for step in job["steps"] if step.get("uses", "").startswith("aws-actions/")}
        variable = ROLES.get(name, "").removesuffix("Role").upper()
        wanted = {"role-to-assume": f"${{{{ vars.AWS_{variable}_ROLE }}}}", "aws-region": "${{ vars.AWS_REGION }}"}
        if name == "train.train":
            wanted["role-duration-seconds"] = LONGEST
            assert job["timeout-minutes"] * 60 < LONGEST, "the job watches a machine on EC2 to its end"
        assert asked == ({json.dumps(wanted)} if name in ROLES else set()), name
        assert (job.get("permissions", {}).get("id-token") == "write") == (name in ROLES), name
        assert job["timeout-minutes"] <= 360, name


def subject(name: str, ref: str) -> str:
    """Who GitHub says a job is; see "OpenID Connect reference" in GitHub's documentation."""
    environment = jobs()[name].get("environment")
    return f"repo:leaf/detector:{f'environment:{environment}' if environment else f'ref:{ref}'}"


def trusted(role: str) -> tuple[list[str], str]:
    """The patterns of subjects and of refs that infra/ lets take a role, in repository leaf/detector."""
    given = {"Bucket": "b", "Email": "e", "Owner": "leaf", "Repository": "detector"}
    stack = stack_policies.Stack(ROOT / "infra/base.yaml", "x", "eu-central-1", "123456789012", given)
    (trust,) = stack.resource(role)["AssumeRolePolicyDocument"]["Statement"]
    patterns = trust["Condition"]["StringLike"]
    return patterns[f"{TOKEN}:sub"], patterns.get(f"{TOKEN}:ref", "*")


@pytest.mark.parametrize(
    ("name", "ref"), [("train.train", "refs/pull/7/merge"), ("deploy.bundle", "refs/tags/detector@v1.0.0")]
)
def test_each_job_can_take_its_own_role_and_not_the_others(name, ref):
    for owner, role in ROLES.items():
        subjects, refs = trusted(role)
        taken = any(fnmatch.fnmatchcase(subject(name, ref), pattern) for pattern in subjects)
        taken = taken and fnmatch.fnmatchcase(ref, refs)
        assert taken == (owner == name), (name, role, subjects, refs)


def test_jobs_that_take_a_role_are_in_an_environment_of_their_own():
    environments = {name: job.get("environment") for name, job in jobs().items()}
    assert {name: each for name, each in environments.items() if each} == {
        "train.train": "training",
        "deploy.bundle": "production",
    }


EVIL = ["detector@v1;echo$IFS-INJECTED", "detector@v1.0.0$(touch${IFS}pwned)", "detector@v1.0.0`touch>pwned`"]


def fits(pattern: str, name: str) -> bool:
    """Whether a tag starts a workflow: "Filter pattern cheat sheet" in GitHub's documentation."""
    expression = re.sub(r"[.$(){}^|\\]", lambda found: re.escape(found[0]), pattern).replace("*", "[^/]*")
    return re.fullmatch(expression, name) is not None


@pytest.mark.parametrize("name", [*EVIL, "detector@v1", "detector@v1.0.0-rc1", "other@v1.0.0", "detector@v1.0.0/x"])
def test_a_tag_that_is_no_version_starts_nothing(name):
    (pattern,) = load(ROOT / ".github/workflows/deploy.yaml")["on"]["push"]["tags"]
    assert fits(pattern, "detector@v1.0.0") and fits(pattern, "detector@v12.34.56")
    assert not fits(pattern, name)


@pytest.mark.parametrize("name", EVIL)
def test_name_of_a_tag_reaches_the_script_as_one_word(tmp_path, name):
    (step,) = [step for step in jobs()["deploy.bundle"]["steps"] if "NAME" in step.get("env", {})]
    assert step["env"] == {"NAME": "${{ github.ref_name }}"}
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", step["run"]], cwd=tmp_path, env={"NAME": name, "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert done.stdout.decode().splitlines() == ["scripts/deploy.py", "deploy", name]
    assert [path.name for path in tmp_path.iterdir()] == [".venv"]


def test_cml_is_installed_only_where_its_hash_is_given():
    """It is downloaded from a release, and its job may write comments."""
    *_, install, post = jobs()["train.comment"]["steps"]
    assert install["uses"].startswith("iterative/setup-cml@") and install["if"] == "vars.CML_SHA256 != ''"
    assert post["env"]["CML_SHA256"] == "${{ vars.CML_SHA256 }}"


@pytest.mark.parametrize(
    ("event", "trained"),
    [
        ({"event_name": "workflow_dispatch"}, True),
        ({"action": "labeled", "label": "train", "labels": ["train"]}, True),
        ({"action": "labeled", "label": "docs", "labels": ["train", "docs"]}, False),
        ({"action": "synchronize", "labels": ["docs", "train"]}, True),
        ({"action": "synchronize", "labels": ["docs"]}, False),
        ({"action": "labeled", "label": "train", "labels": ["train"], "from": "stranger/fork"}, False),
        ({"action": "synchronize", "labels": ["train"], "from": "stranger/fork"}, False),
    ],
    ids=lambda value: str(value),
)
def test_what_is_trained_is_a_branch_of_this_repository_with_the_label(event, trained):
    github = {"event_name": "pull_request", "repository": "owner/name", "event": {}} | event
    if github["event_name"] == "pull_request":
        github["event"] = {
            "action": event["action"],
            "label": {"name": event.get("label")},
            "pull_request": {
                "head": {"repo": {"full_name": event.get("from", "owner/name")}},
                "labels": [{"name": name} for name in event["labels"]],
            },
        }
    # GitHub's expressions are JavaScript's but for `.*` and functions.
    condition = jobs()["train.train"]["if"].replace(".*.name", ".map(label => label.name)")
    script = (
        f"const github = {json.dumps(github)}; const contains = (list, item) => list.includes(item);"
        f"console.log(Boolean({condition}))"
    )
    done = subprocess.run([external_programs.program("node"), "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(trained).lower()


@pytest.mark.parametrize(
    ("inputs", "labels", "runner"),
    [
        ({"set": "", "runner": "params"}, None, ""),
        ({"set": "lr=0.2", "runner": "ec2"}, None, "ec2"),
        ({"set": "lr=0.2 runner.kind=ec2", "runner": "params"}, None, "ec2"),
        ({}, ["train"], ""),
        ({}, ["train", "ec2"], "ec2"),
    ],
)
def test_a_machine_on_ec2_trains_when_it_is_asked_for_and_is_looked_for_first(inputs, labels, runner):
    job = jobs()["train.train"]
    github = {"event": {"pull_request": {"labels": [{"name": name} for name in labels or []]}}}
    expression = job["env"]["RUNNER"].removeprefix("${{").removesuffix("}}").replace(".*.name", ".map(l => l.name)")
    # GitHub's contains() also looks for a text in a text, and what is not there is empty.
    script = (
        f"const github = {json.dumps(github)}, inputs = {json.dumps(inputs)};"
        f"const contains = (all, part) => (all || '').includes(part); console.log({expression})"
    )
    done = subprocess.run([external_programs.program("node"), "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == runner
    (look,) = [step for step in job["steps"] if step.get("run") == "make doctor FOR=ec2"]
    assert look["if"] == "${{ env.RUNNER == 'ec2' }}"
    names = [step.get("id") for step in job["steps"]]
    assert job["steps"].index(look) < names.index("train")
    template = (ROOT / "infra/base.yaml").read_text()
    assert f"MaxSessionDuration: {LONGEST}" in template


def test_a_failed_push_or_training_costs_neither_report_nor_comment():
    train = {step.get("name", step.get("uses", step.get("run"))): step for step in jobs()["train.train"]["steps"]}
    after = "${{ !cancelled() && steps.train.outcome == 'success' }}"
    assert train["Train"]["id"] == "train"
    assert train["Write the report"]["if"] == after
    upload = jobs()["train.train"]["steps"][-1]
    assert upload["uses"].startswith("actions/upload-artifact@") and upload["if"] == after
    comment = jobs()["train.comment"]
    assert "!cancelled()" in comment["if"] and comment["needs"] == "train"
    *_, get_report, get_cml, post = comment["steps"]
    assert get_report["continue-on-error"] is True and get_report["with"]["name"] == upload["with"]["name"]
    assert get_cml["continue-on-error"] is True
    assert post["run"] == f"python3 scripts/comment.py {upload['with']['path']}"


def test_every_step_is_one_local_command_without_expressions():
    assert len(run_lines()) == sum("run" in step for step in steps()) > 10
    for line in run_lines():
        assert "${{" not in line, line
        assert re.fullmatch(f"({COMMAND}){WORDS}", line), line


def test_targets_scripts_and_dvcs_commands_are_there():
    from dvc.cli.parser import get_main_parser

    makefile = (ROOT / "Makefile").read_text()
    for words in map(shlex.split, run_lines()):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:.*## \w", makefile, re.MULTILINE), f"no target {words[1]}"
            for variable in words[2:]:
                name = variable.partition("=")[0]
                assert name in VARIABLES and f"$({name}" in makefile, f"make {words[1]} does not know {name}"
        elif words[0].endswith(("python", "python3")):
            done = script_runner.run(ROOT, "python", words[1], "--help")
            if words[1] == "scripts/remote.py":  # hands its words on to DVC
                get_main_parser().parse_args(words[2:])
            else:
                assert all(option in done.stdout for option in words if option.startswith("--"))
        elif words[0] == ".venv/bin/dvc":
            get_main_parser().parse_args(words[1:])


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """The pipeline by formula, finished, with this Python's environment as .venv."""
    folder = fake_repo.finished(tmp_path_factory.mktemp("workflows") / "repository")
    (folder / ".git/info/exclude").write_text(".venv\n")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def make_experiment(repository: Path, **given: str) -> subprocess.CompletedProcess:
    """Run the workflow's own line, in a shell that has these variables."""
    (step,) = [step for step in steps() if step.get("id") == "train"]
    assert step["run"].startswith("make experiment ")
    # -o: the environment is as new as it has to be.
    line = step["run"].replace("make ", "make -o .venv/installed/requirements.txt -o .venv/container/stamp ", 1)
    empty = dict.fromkeys(re.findall(r"\$([A-Z]+)", line), "")
    return small_repo.run(repository, "bash", "-euc", line, check=False, **empty | given)


@pytest.mark.slow
def test_params_given_by_hand_become_an_experiment_of_the_given_name(repository):
    done = make_experiment(repository, SET="lr=0.3 train.epochs=4", NAME="ci-1-1")
    assert done.returncode == 0, done.stdout
    (reference,) = small_repo.git(repository, "for-each-ref", "--format=%(refname)", "refs/exps/*/*/ci-1-1").split()
    params = YAML(typ="safe").load(small_repo.git(repository, "show", f"{reference}:params.yaml"))
    assert (params["lr"], params["train"]["epochs"]) == (0.3, 4)


@pytest.mark.full
def test_runner_input_comes_before_params(repository):
    done = make_experiment(repository, SET="lr=0.4", NAME="ci-3-1", RUNNER="ec2")
    assert done.returncode == 0, done.stdout
    params = YAML(typ="safe").load(
        small_repo.git(repository, "show", f"{experiment(repository, 'ci-3-1')}:params.yaml")
    )
    assert (params["lr"], params["runner"]["kind"]) == (0.4, "ec2")


def experiment(repository: Path, name: str) -> str:
    return small_repo.git(repository, "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        "lr=$(touch${IFS}pwned)",
        "--temp;touch pwned",
        pytest.param("lr=0.1;touch${IFS}pwned", marks=pytest.mark.full),
        pytest.param("lr=`touch${IFS}pwned`", marks=pytest.mark.full),
        pytest.param("lr=$(shell touch pwned)", marks=pytest.mark.full),
        pytest.param("* lr=2", marks=pytest.mark.full),
    ],
)
def test_what_is_given_by_hand_is_never_run(repository, given):
    before = small_repo.git(repository, "for-each-ref", "refs/exps")
    done = make_experiment(repository, SET=given, NAME="ci-2-1")
    assert done.returncode != 0 and "No rule" not in done.stdout, done.stdout
    assert not list(repository.rglob("pwned"))
    assert small_repo.git(repository, "for-each-ref", "refs/exps") == before
