"""A sweep on machines: where trials train is no part of them, what they cost is told, and money ends it.

What EC2 would print and charge is made up by the train stage here; test_ec2.py runs the chain with machines.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import miniature
import pytest
import tiny

from plantdoc import params, revisions
from plantdoc.errors import UserError
from plantdoc.sweep import board, leash, machines, place, snapshot, trial

pytest_plugins = ["ec2_fixtures"]
BUCKET = "sweep-leaves"
BASE = params.read(miniature.ROOT / "params.yaml")
STARTED = "ec2: machine i-1: g5.xlarge in us-east-1a, spot, $36.0000 an hour; ends by itself by 14:00"
EPOCH = "epoch 2: box 1.234, class 0.567, val mAP 0.1000, mAP@50 0.2500, the best so far"
# What a train stage with a machine prints and records, whichever lr; a second trial takes a machine on demand.
TRAIN = f"""
if params["runner"]["kind"] == "ec2":
    print({STARTED!r})
    print("ec2: training")
    print({EPOCH!r})
    print("ec2: outputs in place", flush=True)
"""
COST = (
    'cost(pictures_per_second=10.0, **({"dollars": 1.5, "machine": "g5.xlarge in us-east-1a, spot"} if on_ec2 else {}))'
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory, swift) -> Path:
    """A repository whose training has changed since it ran, with a bucket for a remote."""
    folder = tiny.finished(tmp_path_factory.mktemp("swept") / "repository")
    bucket = swift.make_bucket(BUCKET)
    (folder / ".dvc/config.local").write_text(
        f"['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    endpointurl = {swift.url}\n    region = us-east-1\n"
    )
    train = folder / "src/train.py"
    text = train.read_text().replace("cost(pictures_per_second=10.0)", COST)
    train.write_text(text.replace("\nwrite(", '\non_ec2 = params["runner"]["kind"] == "ec2"' + TRAIN + "write(", 1))
    miniature.git(folder, "commit", "-q", "-a", "-m", "another training")
    return folder


def sweep(folder: Path, swift, *arguments: str) -> subprocess.CompletedProcess:
    return miniature.run(
        folder, "python", "scripts/sweep.py", *arguments, check=False, **swift.environment(), AWS_REGION="us-east-1"
    )


@pytest.mark.slow
def test_where_trials_run_is_no_part_of_them_and_money_stops_new_ones(repository, swift):
    axes = ("lr=0.2,0.3,0.4",)
    done = sweep(repository, swift, *axes, "runner.kind=ec2", "--jobs", "1", "--max-dollars", "2")
    assert done.returncode == 1, done.stdout
    # the shared input is in the bucket before the first trial starts
    before = done.stdout.partition("lr-0.2: started")[0]
    assert "pushed" in before and "pushed" not in done.stdout.removeprefix(before)
    assert any(name.startswith("dvc/files/md5/") for name in swift.objects(BUCKET))
    # one line for the machine, which tells more as there is more to tell
    lines = [line for line in done.stdout.splitlines() if line.startswith("lr-0.2: ")]
    assert len(lines) > 2, done.stdout
    assert lines[2] == "lr-0.2: g5.xlarge in us-east-1a, spot, epoch 0/3, 0.0 min, $0.00"
    assert "lr-0.2: ec2: training" in lines
    assert "lr-0.2: g5.xlarge in us-east-1a, spot, epoch 2/3, val mAP@50 0.2500, 0.0 min, $0.0" in done.stdout
    assert "test mAP@50 0.5400, $1.50" in done.stdout
    # the budget
    assert "lr-0.4: not started: the sweep has cost $3.00 of $2.00" in done.stdout
    assert "1 of 3 trials were not started" in done.stdout.splitlines()[-1]
    rows = {row["lr"]: row for row in table(repository)}
    assert (rows["0.2"]["dollars"], rows["0.2"]["where"]) == ("1.5", "g5.xlarge in us-east-1a, spot")
    assert rows["0.4"]["state"].startswith("not started") and rows["0.4"]["dollars"] == ""
    assert "| 1.50    | g5.xlarge in us-east-1a, spot |" in (repository / "results/sweep/table.md").read_text()

    # The same trials, here: what is done is done, the rest is trained here. So, too, when params.yaml is set to ec2.
    miniature.set_params(repository, runner__kind="ec2")
    again = sweep(repository, swift, *axes, "runner.kind=local")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("was done before") == 2 and "lr-0.4: started" in again.stdout
    assert "g5.xlarge in us-east-1a, spot, epoch" not in again.stdout
    found = {each.name: each.params["runner.kind"] for each in revisions.experiments(repository)}
    assert found == {"lr-0.2": "ec2", "lr-0.3": "ec2", "lr-0.4": "local"}
    miniature.git(repository, "checkout", "-q", "params.yaml")


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results/sweep/table.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def refused(repository, swift, monkeypatch, capsys):
    """A function that gives the command words that it refuses, in this process; returns what it says."""
    spec = importlib.util.spec_from_file_location("sweep_script", miniature.ROOT / "scripts/sweep.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, value in miniature.environment(**swift.environment(), AWS_REGION="us-east-1").items():
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
    axes, where = place.apart(["lr=0.1,0.2", "runner.kind=ec2", "runner.instance_types=g5.xlarge,g6.xlarge"], BASE)
    assert axes == ["lr=0.1,0.2"]
    assert where == {"runner.kind": "ec2", "runner.instance_types": ["g5.xlarge", "g6.xlarge"]}
    assert trial._quoted(where["runner.instance_types"]) == "['g5.xlarge','g6.xlarge']"
    assert place.on_ec2(where, BASE) and not place.on_ec2({}, BASE)
    assert place.on_ec2({}, BASE | {"runner": BASE["runner"] | {"kind": "ec2"}})


def test_an_uncommitted_change_of_runner_or_serve_alone_gives_trials_no_other_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", miniature.environment()["PATH"])
    folder = tiny.make(tmp_path / "repository")
    (folder / ".dvc/tmp").mkdir(exist_ok=True)
    miniature.set_params(folder, runner__kind="ec2", runner__max_dollars=1.0, serve__min_map50=0.9)
    assert snapshot.take(folder).state() == ""
    miniature.set_params(folder, train__epochs=9)
    state = snapshot.take(folder).state()
    assert len(state) == 6
    miniature.set_params(folder, runner__kind="local")
    assert snapshot.take(folder).state() == state


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_machine_is_told_as_the_trial_tells_of_it():
    clock = Clock()
    machine = machines.Machine(20, clock)
    assert not machine.hear("epoch 1: box 1.0, class 1.0"), "of a training here"
    assert machine.hear(STARTED)
    clock.now = 90
    assert machine.hear(EPOCH)
    assert machine.told() == "g5.xlarge in us-east-1a, spot, epoch 2/20, val mAP@50 0.2500, 1.5 min, $0.90"
    assert machine.hear("epoch 3: box 1.0, class 1.0"), "of an epoch that was not validated"
    assert "epoch 3/20, val mAP@50 0.2500" in machine.told()
    assert not machine.hear("ec2: training") and not machine.hear("Running stage 'evaluate':")


def test_the_next_machine_of_a_trial_adds_to_what_it_costs():
    clock = Clock()
    machine = machines.Machine(20, clock)
    machine.hear(STARTED)
    clock.now = 100
    machine.hear("ec2: the machine was taken away: spot interruption")
    assert machine.told() == "g5.xlarge in us-east-1a, spot, ended, epoch 0/20, 1.7 min, $1.00"
    clock.now = 500  # a while without one costs nothing
    machine.hear("ec2: machine i-2: g4dn.xlarge in us-east-1b, on demand, $72.0000 an hour; ends by itself by 14:00")
    clock.now = 550
    machine.hear("ec2: machine i-2: g4dn.xlarge in us-east-1b, on demand, $72.0000 an hour; ends by itself by 14:00")
    clock.now = 600
    machine.end()
    clock.now = 10_000
    assert machine.dollars == pytest.approx(1 + 2)
    assert machine.minutes == pytest.approx(200 / 60)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_machines_have_a_line_each_below_those_that_stay(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    shown = board.Board(stream, redraw=3600)
    told = {"a": "epoch 1", "b": "epoch 1"}
    for name in told:
        shown.show(name, lambda name=name: told[name])
    shown.say("c", "started")
    told["a"] = "epoch 2 and much more than fits into a line"
    shown.say("c", "train")
    assert screen(stream.getvalue()) == [
        "c: started",
        "c: train",
        "a: epoch 2 and much more than fits into",
        "b: epoch 1",
    ]
    shown.drop("a")
    assert screen(stream.getvalue()) == ["c: started", "c: train", "b: epoch 1"]
    with shown:
        pass
    assert screen(stream.getvalue()) == ["c: started", "c: train"]


def screen(written: str) -> list[str]:
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
    with board.Board(stream) as shown:
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
    with open(tmp_path / "lock", "w") as lock, leash.hold(lock.fileno(), grace) as launch:
        launch([sys.executable, "-c", DEAF.format(handler=handler), str(tmp_path / "begun")])
        while not (tmp_path / "begun").exists():
            os.sched_yield()
    assert (tmp_path / "begun.ended").exists() == ended
    assert place.GRACE > leash.GRACE


def test_refusing_knows_the_place_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.make(tmp_path / "repository"))
    with pytest.raises(UserError, match="make aws"):
        place.refuse_unready({}, BASE)
