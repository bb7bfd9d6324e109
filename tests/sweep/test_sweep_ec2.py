"""A sweep on machines: where trials train is no part of them, what they cost is told, and money ends it.

What EC2 would say and charge is made up by the train stage here; test_ec2.py runs the chain with machines.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import fake_repo
import pytest
import small_repo

from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.repo import revisions
from plantdoc.sweep import child_processes, progress_display, remote_trials, runner_options, snapshot, trial
from plantdoc.sweep.observer import Observer
from plantdoc.train import progress
from plantdoc.train.progress import TrainingProgress

pytest_plugins = ["ec2_fixtures"]
BUCKET = "sweep-leaves"
BASE = params.read(small_repo.ROOT / "params.yaml")
# What a train stage with an instance writes and records, whichever lr.
TRAIN = """
if params["runner"]["kind"] == "ec2":
    rows = [{"box": 1.2, "class": 0.6}, {"box": 1.1, "class": 0.5, "val_map": 0.1, "val_map50": 0.25}]
    where = {"id": "i-1", "type": "g5.xlarge", "zone": "us-east-1a", "spot": True, "price": 36.0}
    progress.write(progress.TrainingProgress(
        state="training", epoch=2, epochs=3, history=rows, message="ec2: sent the code",
        instance=where | {"launched": time.time()},
    ))
"""
COST = (
    'cost(pictures_per_second=10.0, **({"dollars": 1.5, "machine": "g5.xlarge in us-east-1a, spot"} if on_ec2 else {}))'
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory, swift) -> Path:
    """A repository whose training has changed since it ran, with a bucket for a remote."""
    folder = fake_repo.finished(tmp_path_factory.mktemp("swept") / "repository")
    bucket = swift.make_bucket(BUCKET)
    (folder / ".dvc/config.local").write_text(
        f"['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    endpointurl = {swift.url}\n    region = us-east-1\n"
    )
    train = folder / "src/train.py"
    text = train.read_text().replace("cost(pictures_per_second=10.0)", COST)
    train.write_text(text.replace("\nwrite(", '\non_ec2 = params["runner"]["kind"] == "ec2"' + TRAIN + "write(", 1))
    small_repo.git(folder, "commit", "-q", "-a", "-m", "another training")
    return folder


def sweep(folder: Path, swift, *arguments: str) -> subprocess.CompletedProcess:
    return small_repo.run(
        folder, "python", "scripts/sweep.py", *arguments, check=False, **swift.environment(), AWS_REGION="us-east-1"
    )


@pytest.mark.slow
def test_where_trials_run_is_no_part_of_them_and_money_stops_new_ones(repository, swift):
    axes = ("lr=0.2,0.3",)
    done = sweep(repository, swift, *axes, "runner.kind=ec2", "--jobs", "1", "--max-dollars", "1")
    assert done.returncode == 1, done.stdout
    # the shared input is in the bucket before the first trial starts
    before = done.stdout.partition("lr-0.2: started")[0]
    assert "pushed" in before and "pushed" not in done.stdout.removeprefix(before)
    assert any(name.startswith("dvc/files/md5/") for name in swift.objects(BUCKET))
    lines = [line for line in done.stdout.splitlines() if line.startswith("lr-0.2: ")]
    assert lines[1] == "lr-0.2: ec2: sent the code", lines
    assert re.match(
        r"lr-0\.2: g5\.xlarge in us-east-1a, spot, epoch 2/3, val mAP@50 0\.2500, \d\.\d min, \$\d\.", lines[2]
    )
    assert lines[3] == "lr-0.2: train done"
    assert "test mAP@50 0.5400, $1.50" in done.stdout
    # the budget
    assert "lr-0.3: not started: the sweep has cost $1.50 of $1.00" in done.stdout
    assert "1 of 2 trials were not started" in done.stdout.splitlines()[-1]
    rows = {row["lr"]: row for row in table(repository)}
    assert (rows["0.2"]["dollars"], rows["0.2"]["where"]) == ("1.5", "g5.xlarge in us-east-1a, spot")
    assert rows["0.3"]["state"].startswith("not started") and rows["0.3"]["dollars"] == ""
    assert "| 1.50    | g5.xlarge in us-east-1a, spot |" in (repository / "results/sweep/table.md").read_text()

    # The same trials, here: what is done is done, the rest is trained here. So, too, when params.yaml is set to ec2.
    small_repo.set_params(repository, runner__kind="ec2")
    again = sweep(repository, swift, *axes, "runner.kind=local")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("was done before") == 1 and "lr-0.3: started" in again.stdout
    assert "g5.xlarge in us-east-1a, spot, epoch" not in again.stdout
    found = {each.name: each.params["runner.kind"] for each in revisions.experiments(repository)}
    assert found == {"lr-0.2": "ec2", "lr-0.3": "local"}
    small_repo.git(repository, "checkout", "-q", "params.yaml")


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results/sweep/table.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def refused(repository, swift, monkeypatch, capsys):
    """A function that gives the command words that it refuses, in this process; returns what it says."""
    spec = importlib.util.spec_from_file_location("sweep_script", small_repo.ROOT / "scripts/sweep.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, value in small_repo.environment(**swift.environment(), AWS_REGION="us-east-1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(repository)
    before = signal.getsignal(signal.SIGTERM)

    def refuse(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["sweep.py", *words])
        with pytest.raises(UserError) as caught:
            script.main()
        assert capsys.readouterr().out == "", "something was begun"
        return str(caught.value)

    yield refuse
    signal.signal(signal.SIGTERM, before)


def test_without_a_bucket_nothing_starts(repository, refused):
    config = repository / ".dvc/config.local"
    kept = config.read_text()
    config.write_text("")
    try:
        assert "`make aws BUCKET=" in refused("lr=0.2", "runner.kind=ec2")
    finally:
        config.write_text(kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runner.kind=ec2"], "not what they try: add lr="),
        (["lr=0.2", "runner.kind=ec2,local"], "runner.kind says where all trials run"),
        (["lr=0.2", "runner.max_hours=1..2"], "runner.max_hours says where all trials run"),
        (["lr=0.2", "runner.knd=ec2"], "runner.knd is not a known key; did you mean kind?"),
        (["lr=0.2", "runner.kind=cloud"], "runner.kind = 'cloud'"),
        (["serve.min_map50=0.1,0.2"], "serve.min_map50=0.1,0.2: serve.* changes no result"),
        (["deploy.min_map50=0.1,0.2"], "deploy.min_map50 is serve.min_map50 now"),
        (["lr=0.2", "--max-dollars", "5"], "is for trials on EC2"),
        (["lr=0.2", "runner.kind=ec2", "--max-dollars", "0"], "more than 0"),
    ],
)
def test_what_makes_no_sense_is_named_before_anything_runs(refused, arguments, message):
    said = refused(*arguments, *([] if "--max-dollars" in arguments else ["runner.region=us-east-1"]))
    assert message in said and len(said.splitlines()) == 1


def test_lists_of_the_runner_are_one_value():
    axes, where = runner_options.apart(
        ["lr=0.1,0.2", "runner.kind=ec2", "runner.instance_types=g5.xlarge,g6.xlarge"], BASE
    )
    assert axes == ["lr=0.1,0.2"]
    assert where == {"runner.kind": "ec2", "runner.instance_types": ["g5.xlarge", "g6.xlarge"]}
    assert trial._quoted(where["runner.instance_types"]) == "['g5.xlarge','g6.xlarge']"
    assert runner_options.on_ec2(where, BASE) and not runner_options.on_ec2({}, BASE)
    assert runner_options.on_ec2({}, BASE | {"runner": BASE["runner"] | {"kind": "ec2"}})


def test_uncommitted_runner_or_serve_keeps_trial_names(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", small_repo.environment()["PATH"])
    folder = fake_repo.make(tmp_path / "repository")
    (folder / ".dvc/tmp").mkdir(exist_ok=True)
    small_repo.set_params(folder, runner__kind="ec2", runner__max_dollars=1.0, serve__min_map50=0.9)
    assert snapshot.take(folder).state() == ""
    small_repo.set_params(folder, train__epochs=9)
    state = snapshot.take(folder).state()
    assert len(state) == 6
    small_repo.set_params(folder, runner__kind="local")
    assert snapshot.take(folder).state() == state


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


ROWS = [{"box": 1.0, "class": 1.0}, {"box": 1.0, "class": 1.0, "val_map": 0.1, "val_map50": 0.25}]
FIRST = {"id": "i-1", "type": "g5.xlarge", "zone": "us-east-1a", "spot": True, "price": 36.0, "launched": 1000.0}


def test_an_instance_is_told_as_the_progress_file_tells_of_it():
    clock = Clock()
    machine = remote_trials.RemoteTrial(20, clock)
    clock.now = 1000
    assert not machine.hear(TrainingProgress(state="training", epoch=2, history=ROWS)), "a training here"
    assert not machine.runs
    assert machine.hear(TrainingProgress(state="environment", instance=FIRST))
    clock.now = 1060
    assert machine.summary() == "g5.xlarge in us-east-1a, spot, setting up the environment, 1.0 min, $0.60"
    assert machine.hear(TrainingProgress(state="training", epoch=2, history=ROWS, instance=FIRST)) and machine.runs
    clock.now = 1090
    assert machine.summary() == "g5.xlarge in us-east-1a, spot, epoch 2/20, val mAP@50 0.2500, 1.5 min, $0.90"
    more = TrainingProgress(state="training", epoch=3, step=7, history=[*ROWS, ROWS[0]], instance=FIRST)
    assert machine.hear(more), "an epoch that was not validated"
    assert "epoch 3/20, val mAP@50 0.2500" in machine.summary()
    assert not machine.hear(dataclasses.replace(more, step=8, seconds_left=3.0)), "a step is nothing to tell"


def test_the_next_instance_of_a_trial_adds_to_what_it_costs():
    clock = Clock()
    machine = remote_trials.RemoteTrial(20, clock)
    machine.hear(TrainingProgress(instance=FIRST))
    clock.now = 5000
    assert machine.hear(TrainingProgress(instance=FIRST | {"ended": 1100.0}))
    assert machine.summary() == "g5.xlarge in us-east-1a, spot, ended, starting, 1.7 min, $1.00"
    second = FIRST | {"id": "i-2", "type": "g4dn.xlarge", "spot": False, "price": 72.0, "launched": 5000.0}
    machine.hear(TrainingProgress(instance=second, minutes=100 / 60, dollars=1.0))
    clock.now = 5100
    machine.end()
    clock.now = 10_000
    assert machine.dollars == pytest.approx(1 + 2) and not machine.runs
    assert machine.minutes == pytest.approx(200 / 60)


@pytest.mark.parametrize("state", ["done", "failed", "interrupted"])
def test_a_run_that_is_over_has_no_instance_left(state):
    machine = remote_trials.RemoteTrial(20, Clock())
    machine.hear(TrainingProgress(state="training", instance=FIRST))
    assert machine.runs
    assert machine.hear(TrainingProgress(state=state, instance=FIRST)) and not machine.runs


@pytest.fixture
def observed(tmp_path):
    """An observer of a copy whose lock has two stages, and what it says."""
    said: list[str] = []
    (tmp_path / "dvc.lock").write_text("stages: {augment: {cmd: a}, train: {cmd: b}}\n")
    machine = remote_trials.RemoteTrial(3)
    return Observer(tmp_path, machine, said.append, lambda: said.append(machine.summary())), said


def test_epochs_and_stages_are_told_once(observed, tmp_path):
    observer, said = observed
    observer.look()
    assert said == []
    progress.write(TrainingProgress(state="training", history=ROWS[:1]), tmp_path)
    for _ in range(2):
        observer.look()
    progress.write(TrainingProgress(state="done", history=ROWS), tmp_path)
    (tmp_path / "dvc.lock").write_text("stages: {augment: {cmd: a}, train: {cmd: c}, deploy: {cmd: d}}\n")
    for _ in range(2):
        observer.look()
    assert said == [progress.line(ROWS[:1]), progress.line(ROWS), "train done", "deploy done"]
    assert not observer.restored


def test_epochs_of_an_earlier_process_are_not_told_again(observed, tmp_path):
    observer, said = observed
    progress.write(TrainingProgress(state="training", history=ROWS, resumed=1), tmp_path)
    observer.look()
    assert said == [progress.line(ROWS)]


def test_a_train_stage_that_wrote_no_progress_came_from_the_run_cache(observed, tmp_path):
    observer, said = observed
    (tmp_path / "dvc.lock").write_text("stages: {augment: {cmd: a}, train: {cmd: c}}\n")
    observer.look()
    assert said == ["train: the run cache has it"] and observer.restored


def test_a_lock_that_is_half_written_is_read_the_next_time(observed, tmp_path):
    observer, said = observed
    for text in ("", "stages: {augment: {cm"):
        (tmp_path / "dvc.lock").write_text(text)
        observer.look()
    assert said == []
    (tmp_path / "dvc.lock").write_text("stages: {augment: {cmd: x}, train: {cmd: b}}\n")
    observer.look()
    assert said == ["augment done"]


def test_why_a_training_failed_is_told_by_the_trial_and_not_before(observed, tmp_path):
    observer, said = observed
    progress.write(TrainingProgress(state="failed", message="the loss is not finite"), tmp_path)
    observer.look()
    assert said == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_machines_have_a_line_each_below_those_that_stay(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    shown = progress_display.ProgressDisplay(stream, redraw=3600)
    summary = {"a": "epoch 1", "b": "epoch 1"}
    for name in summary:
        shown.show(name, lambda name=name: summary[name])
    shown.say("c", "started")
    summary["a"] = "epoch 2 and much more than fits into a line"
    shown.say("c", "train")
    assert visible_lines(stream.getvalue()) == [
        "c: started",
        "c: train",
        "a: epoch 2 and much more than fits into",
        "b: epoch 1",
    ]
    shown.drop("a")
    assert visible_lines(stream.getvalue()) == ["c: started", "c: train", "b: epoch 1"]
    with shown:
        pass
    assert visible_lines(stream.getvalue()) == ["c: started", "c: train"]


def visible_lines(written: str) -> list[str]:
    """The lines that are to be seen after this."""
    lines: list[str] = []
    for part in written.replace("\x1b[J", "").split("\n"):
        while part.startswith("\x1b["):
            up, _, part = part.removeprefix("\x1b[").partition("A")
            del lines[len(lines) - int(up) :]
        if part:
            lines.append(part)
    return lines


def test_elsewhere_every_change_is_a_line():
    stream = io.StringIO()
    with progress_display.ProgressDisplay(stream) as shown:
        shown.show("a", lambda: "epoch 1")
        shown.show("a", lambda: "epoch 2")
        shown.drop("a")
    assert stream.getvalue() == "a: epoch 1\na: epoch 2\n"


DEAF = """
import signal, sys, pathlib
signal.signal(signal.SIGINT, {handler})
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""
FAREWELL = "lambda *_: (pathlib.Path(sys.argv[1] + '.ended').touch(), sys.exit())"


@pytest.mark.parametrize(("handler", "grace", "ended"), [("signal.SIG_IGN", 0.2, False), (FAREWELL, 60.0, True)])
def test_a_command_gets_the_time_that_it_needs_to_end_its_machine(tmp_path, handler, grace, ended):
    with open(tmp_path / "lock", "w") as lock, child_processes.hold(lock.fileno(), grace) as launch:
        launch([sys.executable, "-c", DEAF.format(handler=handler), str(tmp_path / "begun")])
        while not (tmp_path / "begun").exists():
            os.sched_yield()
    assert (tmp_path / "begun.ended").exists() == ended
    assert runner_options.GRACE > child_processes.GRACE


def test_refusing_knows_the_place_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(fake_repo.make(tmp_path / "repository"))
    with pytest.raises(UserError, match="make aws"):
        runner_options.refuse_unready({}, BASE)
