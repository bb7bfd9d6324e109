"""A sweep runs what is missing, in copies of the state it began with, and ends with a table and a plot."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fake_repo
import psutil
import pytest
import script_runner
import small_repo
from PIL import Image

from plantdoc.core import params, processes
from plantdoc.core.errors import UserError
from plantdoc.repo import revisions
from plantdoc.sweep import grid, results, trial

BASE = params.read(small_repo.ROOT / "params.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A repository after `dvc repro`, its results committed."""
    return fake_repo.finished(tmp_path_factory.mktemp("sweep") / "repository")


@pytest.fixture
def repository(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "repository", symlinks=True)


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess, list[str]]:
    """A fresh repository after its first sweep, one rate of which fails; what was printed; the stages that ran."""
    folder = fake_repo.make(tmp_path_factory.mktemp("swept") / "repository")
    log = folder.parent / "log"
    done = sweep(folder, "lr=0.05,1e9,0.2", "--jobs", "2", TINY_LOG=str(log))
    return folder, done, log.read_text().splitlines()


def sweep(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess:
    return small_repo.run(folder, "python", "scripts/sweep.py", *arguments, check=False, **extra)


def refuses(folder: Path, message: str, *arguments: str, **extra: str) -> None:
    """It ends with this message before anything runs."""
    done = script_runner.run(folder, "python", "scripts/sweep.py", *arguments, check=False, **extra)
    assert done.returncode == 1 and message in done.stdout.splitlines()[-1], done.stdout


def begin(folder: Path, *arguments: str, **extra: str) -> subprocess.Popen:
    """Start a sweep; it prints into sweep.log beside the repository."""
    with open(folder.parent / "sweep.log", "w") as output:
        return subprocess.Popen(
            [sys.executable, "scripts/sweep.py", *arguments],
            cwd=folder,
            env=small_repo.environment(**extra),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def await_(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results/sweep/table.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copies(folder: Path) -> list[Path]:
    return list((folder / trial.COPIES).glob("*"))


def pids(log: Path, rate: str) -> list[int]:
    """The processes in which a rate was trained."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.split()[2]) for line in lines if line.startswith(f"train lr={rate} ")]


@pytest.mark.slow
def test_fetch_and_augment_run_once(swept):
    ran = [line.split()[0] for line in swept[2]]
    assert ran.count("fetch") == ran.count("augment") == 1
    assert ran.count("train") == 3 and ran.count("deploy") == 2


@pytest.mark.slow
def test_a_rate_that_diverges_fails_alone_and_is_shown_as_failed(swept):
    folder, done, _ = swept
    assert done.returncode == 1
    assert "1 of 3 trials failed" in done.stdout.splitlines()[-1]
    best, second, failed = table(folder)
    assert [best["lr"], second["lr"], failed["lr"]] == ["0.2", "0.05", "1000000000.0"]
    assert failed["state"] == "failed: train: the loss is not finite at step 0: lower lr"
    assert failed["val mAP@50"] == failed["minutes"] == "" and best["state"] == "done"
    assert "the loss is not finite" in (folder / trial.LOGS / f"{failed['experiment']}.log").read_text()


@pytest.mark.slow
def test_the_table_is_printed_and_the_plot_drawn(swept):
    folder, done, _ = swept
    assert (folder / "results/sweep/table.md").read_text() in done.stdout
    best = table(folder)[0]
    scores = [float(best[name]) for name in ("val mAP@50", "test mAP@50", "test from", "test to")]
    assert scores == pytest.approx([0.6, 0.54, 0.5, 0.58])
    assert (best["minutes"], best["where"]) == ("0.001", "test")
    assert f"| 0.2   | 0.6000     | 0.5400 (0.5000–0.5800) | 0.0     | test  | {best['experiment']} " in done.stdout
    with Image.open(folder / "results/sweep/plot.png") as picture:
        assert picture.size == (1200, 750)
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.slow
def test_each_trial_has_its_lines(swept):
    folder, done, _ = swept
    best = table(folder)[0]["experiment"]
    said = [
        line.removeprefix(f"{best}: ").split(" in ")[0] for line in done.stdout.splitlines() if line.startswith(best)
    ]
    assert said == ["started", "train done", "evaluate done", "deploy done", "done"]
    score = r"val mAP@50 0\.6000, test mAP@50 0\.5400"
    assert re.search(rf"^{best}: done in \d+\.\d min: {score}", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_the_experiments_are_those_of_dvc_and_the_workspace_is_left_alone(swept):
    folder = swept[0]
    best = table(folder)[0]["experiment"]
    assert best in script_runner.run(folder, "dvc", "exp", "list").stdout
    assert revisions.find(best, folder).params["lr"] == 0.2
    assert revisions.find(root=folder).params["lr"] == 0.1
    assert small_repo.git(folder, "branch", "--show-current").strip() == "main"
    assert small_repo.git(folder, "stash", "list") == ""
    assert copies(folder) == []


@pytest.mark.slow
def test_a_second_run_runs_nothing(swept, tmp_path):
    folder = swept[0]
    done = sweep(folder, "lr=0.05,0.2", TINY_LOG=str(tmp_path / "log"))
    assert done.returncode == 0
    assert done.stdout.count("was done before") == 2 and "started" not in done.stdout
    assert not (tmp_path / "log").exists()
    assert [row["state"] for row in table(folder)] == ["done", "done"]


@pytest.mark.full
def test_after_kill_9_nothing_goes_on_and_the_same_command_finishes_the_rest(repository, tmp_path):
    log, hold = tmp_path / "log", tmp_path / "hold"
    hold.mkdir()
    (hold / "0.3").touch()
    command = ("lr=0.2,0.3", "--jobs", "2")
    process = begin(repository, *command, TINY_LOG=str(log), TINY_HOLD=str(hold))
    await_(lambda: "lr-0.2: done in" in (tmp_path / "sweep.log").read_text() and pids(log, "0.3"), "the second trial")
    process.kill()
    process.wait()
    await_(lambda: not psutil.pid_exists(pids(log, "0.3")[0]), "the end of the orphaned stage")
    (hold / "0.3").unlink()
    done = sweep(repository, *command, TINY_LOG=str(log))
    assert done.returncode == 0, done.stdout
    assert "lr-0.2: was done before" in done.stdout and "lr-0.3: done in" in done.stdout
    assert len(pids(log, "0.2")) == 1 and len(pids(log, "0.3")) == 2
    assert copies(repository) == []
    assert small_repo.git(repository, "status", "--porcelain", "--", ":!results/sweep") == ""


@pytest.mark.full
def test_ctrl_c_ends_the_trials_with_one_line(repository, tmp_path):
    log, hold = tmp_path / "log", tmp_path / "hold"
    hold.mkdir()
    (hold / "0.3").touch()
    process = begin(repository, "lr=0.3,0.4", TINY_LOG=str(log), TINY_HOLD=str(hold))
    await_(lambda: pids(log, "0.3"), "the trial")
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130
    assert not psutil.pid_exists(pids(log, "0.3")[0])
    assert copies(repository) == []
    assert (tmp_path / "sweep.log").read_text().splitlines()[-2:] == [
        "lr-0.3: started",
        "sweep: interrupted",
    ]


@pytest.mark.full
def test_trials_have_the_changes_of_the_beginning_and_not_those_made_meanwhile(repository, tmp_path):
    log, hold = tmp_path / "log", tmp_path / "hold"
    hold.mkdir()
    (hold / "0.3").touch()
    with open(repository / "src/train.py", "a") as file:
        file.write("# of the beginning\n")
    (repository / "notes.txt").write_text("mine")
    process = begin(repository, "lr=0.3,0.4", TINY_LOG=str(log), TINY_HOLD=str(hold))
    await_(lambda: pids(log, "0.3"), "the trial")
    small_repo.set_params(repository, train__epochs=7)
    small_repo.git(repository, "commit", "-q", "-am", "meanwhile")
    (hold / "0.3").unlink()
    code, output = process.wait(), (tmp_path / "sweep.log").read_text()
    assert code == 0, output
    assert "what is changed since: src/train.py\n" in output
    assert "files that git does not track: notes.txt\n" in output
    found = revisions.experiments(repository)
    assert [each.params["lr"] for each in found] == [0.3, 0.4]
    for each in found:
        assert each.base == small_repo.git(repository, "rev-parse", "HEAD~1").strip()
        assert each.params["train.epochs"] == 3
        assert each.read("src/train.py").endswith(b"# of the beginning\n")
        (code,) = (dep for dep in each.lock["train"]["deps"] if dep["path"] == "src/train.py")
        assert code["md5"] != revisions.find("HEAD~1", repository).lock["train"]["deps"][-1]["md5"]
        # The commit alone does not tell what this was made from.
        assert each.name.startswith(f"lr-{each.params['lr']}-")
    assert revisions.find(root=repository).params["train.epochs"] == 7


@pytest.mark.full
def test_a_new_commit_has_its_own_trials_and_a_restored_one_no_minutes(swept, tmp_path):
    folder = shutil.copytree(swept[0], tmp_path / "repository", symlinks=True)
    small_repo.git(folder, "add", "dvc.lock", "results/fetch", "results/cost.json")
    small_repo.git(folder, "commit", "-q", "-m", "later")
    done = sweep(folder, "lr=0.2")
    assert "lr-0.2: train: the run cache has it" in done.stdout
    assert table(folder)[0]["state"] == "done" and table(folder)[0]["minutes"] == table(folder)[0]["where"] == ""
    head = small_repo.git(folder, "rev-parse", "HEAD").strip()
    assert [each.name for each in revisions.experiments(folder) if each.base == head] == ["lr-0.2"]


@pytest.mark.full
def test_trial_runs_fetch_itself_and_accepts_any_text(repository, tmp_path):
    licence = "CC (by) = ? ~ 'x' é"
    done = sweep(repository, f"fetch.licence={licence}", TINY_LOG=str(tmp_path / "log"))
    assert "fetch.licence changes what fetch makes: each trial runs fetch for itself" in done.stdout
    (found,) = revisions.experiments(repository)
    assert found.params["fetch.licence"] == licence
    assert "fetch" in (tmp_path / "log").read_text()


@pytest.mark.full
def test_experiment_with_other_params_is_not_taken_for_the_trial(repository):
    head = small_repo.git(repository, "rev-parse", "HEAD").strip()
    small_repo.git(repository, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/lr-0.2", head)
    done = sweep(repository, "lr=0.2")
    assert done.returncode == 1
    assert "the experiment lr-0.2 has the name of a trial, but other params (lr)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.epoch=1"], "train.epoch is not a known key; did you mean epochs?"),
        (["lr=0.1,-1"], "lr=-1: lr = -1: input should be greater than 0"),
        (["lr=0.1", "train.optimizer=adam"], "train.optimizer = 'adam'"),
        (["lr="], "lr=: write param=value,value"),
        (["lr=0.1", "--jobs", "0"], "at least one trial"),
        (["lr=0.01..0.5"], "say with --draws how many"),
        (["lr=1,2,3", "seed=1,2", "--most", "5"], "these are 6 trials, more than 5"),
    ],
)
def test_what_cannot_be_swept_is_named_before_anything_runs(finished, arguments, message):
    done = script_runner.run(finished, "python", "scripts/sweep.py", *arguments, check=False)
    assert done.returncode == 1
    assert message in done.stdout and len(done.stdout.splitlines()) == 1


def test_without_git_or_a_commit_or_dvc_the_remedy_is_named(tmp_path, repository):
    (tmp_path / "bare/scripts").mkdir(parents=True)
    shutil.copytree(repository / "src", tmp_path / "bare/src")
    shutil.copy(repository / "scripts/sweep.py", tmp_path / "bare/scripts")
    shutil.copy(repository / "params.yaml", tmp_path / "bare")
    refuses(tmp_path / "bare", "is not the root of a git repository", "lr=0.1")
    small_repo.git(tmp_path / "bare", "init", "-q")
    refuses(tmp_path / "bare", "has no commit yet: make one", "lr=0.1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(shutil.which("git"))
    refuses(repository, "dvc is not on PATH", "lr=0.1", PATH=str(tmp_path / "bin"))


def test_a_merge_conflict_is_named(repository):
    small_repo.git(repository, "checkout", "-q", "-b", "other")
    small_repo.set_params(repository, lr=0.3)
    small_repo.git(repository, "commit", "-q", "-am", "other")
    small_repo.git(repository, "checkout", "-q", "main")
    small_repo.set_params(repository, lr=0.4)
    small_repo.git(repository, "commit", "-q", "-am", "ours")
    small_repo.run(repository, "git", "merge", "other", check=False)
    refuses(repository, "there is a merge conflict in params.yaml", "lr=0.1")


@pytest.mark.full
def test_when_fetch_fails_no_trial_starts(repository):
    (repository / "src/fetch.py").write_text("raise SystemExit('fetch: the source is empty')")
    done = sweep(repository, "lr=0.2")
    assert done.returncode == 1 and "lr-0.2: started" not in done.stdout
    assert "fetch: the source is empty" in done.stdout
    assert "dvc repro augment failed, as it says above" in done.stdout.splitlines()[-1]


def test_one_sweep_runs_at_a_time(repository, monkeypatch):
    spec = importlib.util.spec_from_file_location("sweep", small_repo.ROOT / "scripts/sweep.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "PATIENCE", 0)
    monkeypatch.setattr(script.processes, "end_on_terminate", lambda: None)  # it would stay for other tests
    monkeypatch.setattr(sys, "argv", ["sweep.py", "lr=0.2"])
    monkeypatch.setenv("PATH", small_repo.environment()["PATH"])
    monkeypatch.chdir(repository)
    refused = pytest.raises(UserError, match=f"a sweep is already running in process {os.getpid()}")
    with processes.only_one(repository / ".dvc/tmp/plantdoc/sweep.lock", "a sweep"), refused:
        script.main()


def test_values_are_yaml_scalars():
    choices = grid.parse(["lr=1e-5,0.1", "fetch.keep_negatives=true", "model.family=yolov8", "fetch.licence=''"])
    assert choices == {
        "lr": [1e-05, 0.1],
        "fetch.keep_negatives": [True],
        "model.family": ["yolov8"],
        "fetch.licence": [""],
    }
    assert grid.parse(["lr=0.01..0.5"]) == {"lr": grid.Range(0.01, 0.5)}
    assert grid.parse(["fetch.source=../a..b"]) == {"fetch.source": ["../a..b"]}


@pytest.mark.parametrize("arguments", [["lr"], ["=1"], ["lr=1,,2"], ["lr=1", "lr=2"], ["lr=0.5..0.1"]])
def test_arguments_that_say_nothing_clear_are_refused(arguments):
    with pytest.raises(UserError):
        grid.parse(arguments)


def test_a_grid_has_every_combination_once():
    trials = grid.combinations(grid.parse(["lr=0.1,0.2,0.1", "train.epochs=10,20"]), most=4)
    assert [tuple(settings.values()) for settings in trials] == [(0.1, 10), (0.1, 20), (0.2, 10), (0.2, 20)]


def test_draws_follow_from_the_seed_and_more_of_them_begin_with_the_same():
    choices = grid.parse(["lr=0.001..1", "train.epochs=1..1000", "train.optimizer=adamw,sgd", "train.mosaic=0..1"])
    few, many = grid.draws(choices, 8, 1, 100), grid.draws(choices, 64, 1, 100)
    assert many[:8] == few
    assert grid.draws(choices, 8, 2, 100) != few
    assert all(isinstance(each["train.epochs"], int) and 0.001 <= each["lr"] <= 1 for each in many)
    below = sum(each["lr"] < 0.0316 for each in many)
    assert 20 <= below <= 44, "half of the log-uniform draws lie below the geometric middle"
    for settings in many:
        grid.check(settings, BASE)


def test_draws_that_come_out_equal_are_one_trial():
    trials = grid.draws(grid.parse(["train.optimizer=adamw,sgd"]), 20, 0, 100)
    assert len(trials) == 2


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"lr": 0.05, "train.epochs": 10}, "lr-0.05_train.epochs-10"),
        ({"lr": 1e-05}, "lr-1e-05"),
        ({"lr": 0.123456789}, "lr-0.123456789"),
        ({"fetch.keep_negatives": True}, "fetch.keep_negatives-true"),
    ],
)
def test_names_are_readable(settings, name):
    assert grid.name(settings) == name
    assert grid.name(settings, "a1b2c3") == f"{name}-a1b2c3"


def test_names_are_fit_for_git_and_differ(tmp_path):
    odd = ["s3://b/k", "s3:/b/k", "a..b", "a.lock", "a.", "é", "x" * 100, "x" * 101, "a b", "a~b^c:d?e*f[g", "@{1}"]
    names = [grid.name({"fetch.source": value}) for value in odd]
    assert len(set(names)) == len(odd)
    for name in names:
        subprocess.run(["git", "check-ref-format", f"refs/exps/ab/cd/{name}"], check=True)
        assert len(name) < 80 and "/" not in name


def revision(val: float) -> revisions.Revision:
    """An experiment with scores, of no repository."""
    found = revisions.Revision(Path(), "x", "x")
    found.__dict__["metrics"] = {
        "train:val_map50": val,
        "evaluate:map50": 0.5,
        "evaluate:map50_low": 0.4,
        "evaluate:map50_high": 0.6,
    }
    return found


def test_the_order_is_by_val_and_never_by_test():
    low, high = revision(0.3), revision(0.4)
    low.metrics["evaluate:map50"] = 0.9
    ranking = [
        results.TrialResult("none", {"lr": 3}, None, "failed: x"),
        results.TrialResult("low", {"lr": 1}, low, "done"),
        results.TrialResult("high", {"lr": 2}, high, "done"),
    ]
    assert [row["experiment"] for row in results.rows(ranking)] == ["high", "low", "none"]


@pytest.mark.parametrize(
    "trials",
    [
        [{"lr": 0.1}],
        [{"lr": 0.1 * i, "train.epochs": j} for i in range(1, 5) for j in range(1, 14)],
        [{"model.family": "yolov8"}, {"model.family": "retinanet"}],
        [{"lr": 0.013 * i, "train.epochs": i} for i in range(1, 20)],
        [{"lr": 0.1, "train.patience": 0}, {"lr": 0.1, "train.patience": 3}],
    ],
    ids=["one", "grid", "text", "draws", "constant"],
)
@pytest.mark.parametrize("failed", [False, True])
def test_every_kind_of_sweep_has_a_plot(trials, failed, tmp_path):
    ranking = [
        results.TrialResult(str(i), settings, revision(0.4), "done") for i, settings in enumerate(trials[failed:])
    ]
    ranking += [results.TrialResult("failed", trials[0], None, "failed: x")] * failed
    results.plot(tmp_path / "plot.png", ranking)
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (1200, 750)
        assert len(picture.convert("L").getcolors(256)) > 10


@pytest.mark.full(40)
def test_a_real_training_that_diverges_fails_alone(tmp_path):
    folder = small_repo.make(tmp_path / "repository", train__epochs=1, train__plain_epochs=0, train__batch_size=2)
    done = sweep(folder, "lr=0.2,1e9", "--jobs", "2")
    assert done.returncode == 1, done.stdout
    good, diverged = table(folder)
    assert (good["lr"], good["state"]) == ("0.2", "done") and float(good["minutes"]) > 0
    assert diverged["lr"] == "1000000000.0" and "the loss is not finite" in diverged["state"]
    assert f"{good['experiment']}: epoch 1: box" in done.stdout
    assert done.stdout.count("Running stage 'fetch'") == done.stdout.count("Running stage 'augment'") == 1
