"""Whoever watches a training elsewhere: interrupted, cut off, past the deadline, or only looking."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time

import ec2_commands
import fake_s3_network
import pytest
from ec2_commands import until

from plantdoc.ec2 import interrupts, reconcile, watcher
from plantdoc.ec2.attempts import Attempts
from plantdoc.ec2.instances import Instance

pytest_plugins = ["ec2_fixtures"]
pytestmark = pytest.mark.slow(2)
EPOCH = "epoch 1: box 0.512, class 1.204, val mAP 0.0312, mAP@50 0.0801, the best so far"
CTRL_C = "\x03"
QUESTION = "end the machine, or leave it and attach later?"


@pytest.fixture
def networks(ec2_cli, monkeypatch):
    """What the command reaches S3 and EC2 through."""
    with fake_s3_network.running(ec2_cli.swift) as to_s3, fake_s3_network.running(ec2_cli.aws) as to_ec2:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", to_s3.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", to_ec2.url)
        yield to_s3, to_ec2


def watching(ec2_cli, start=None):
    """A command that watches its machine; by default in this process."""
    command = (start or ec2_cli.start)("run")
    machine = ec2_cli.puppet()
    machine.says(f"{EPOCH}\r\n")
    command.shows(EPOCH)
    return command, machine


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), pytest.param(signal.SIGTERM, marks=pytest.mark.full)],
)
def test_without_a_terminal_a_signal_ends_the_machine(ec2_cli, number):
    """Also where the parent ignores it, as train does while it waits for this command."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        command, machine = watching(ec2_cli, ec2_cli.spawn)
    finally:
        signal.signal(number, before)
    command.process.send_signal(number)
    text = command.ends(130)
    assert f"ec2: ended the machine {machine.claim['instance']}" in text and QUESTION not in text
    assert ec2_cli.instances() == []
    stopped = ec2_cli.store.read(f"{machine.run}/attempts/1.json")
    assert stopped["stopped"].startswith("tester on ") and stopped["ended"]


def test_a_signal_in_the_middle_of_the_start_ends_what_was_started(ec2_cli):
    """RunInstances has been answered, nothing is written down, and EC2 neither shows nor ends the machine yet."""
    ec2_cli.aws.rules.lag = 2

    def interrupt(what: str, ids: list[str]) -> None:
        if what == "run":
            command.interrupts._handle(signal.SIGINT, None)  # raises here unless signals are held

    ec2_cli.aws.watchers.append(interrupt)
    command = ec2_cli.start("run")
    text = command.ends(130)
    assert "does not show the end of" in text and "ended the machine" in text
    assert len(ec2_cli.instances("terminated", "shutting-down")) == 1 and ec2_cli.instances() == []


def test_terminal_shows_a_bar_and_ctrl_c_can_leave_the_machine(ec2_cli):
    command, machine = watching(ec2_cli, ec2_cli.sit_down)
    machine.says("", epoch=2, step=3, steps=9, losses={"box": 0.512}, seconds_left=120.0)
    told = r"epoch 2/3: 33%, step 3/9, 2\.0 min left, box 0\.512.*\[\d+\.\d min, \$0\.\d\d\]"
    until(lambda: re.search(told, command.text))
    command.types(CTRL_C)
    command.shows(QUESTION)
    command.types("leave\n")
    text = command.ends(130)
    assert f"The run {machine.run} continues on its machine" in text and f"ec2.py stop {machine.run}" in text
    assert len(ec2_cli.instances()) == 1
    again = ec2_cli.start("run")
    again.shows(EPOCH)
    machine.finishes()
    again.ends(0)
    assert sum(call.action == "RunInstances" for call in ec2_cli.aws.calls) == 1


@pytest.mark.full
def test_a_second_ctrl_c_at_a_terminal_ends_the_machine(ec2_cli):
    command, _ = watching(ec2_cli, ec2_cli.sit_down)
    command.types(CTRL_C)
    command.shows(QUESTION)
    command.types(CTRL_C)
    command.ends(130)
    assert ec2_cli.instances() == []


@pytest.mark.full
def test_sigterm_while_a_person_is_asked_ends_the_machine(ec2_cli):
    command, _ = watching(ec2_cli, ec2_cli.sit_down)
    command.types(CTRL_C)
    command.shows(QUESTION)
    command.process.terminate()
    command.ends(130)
    assert ec2_cli.instances() == []


@pytest.mark.parametrize(
    ("answer", "leave"),
    [("leave\n", True), ("L\n", True), ("\n", False), ("end\n", False), ("what?\n", False), ("", False)],
)
def test_only_a_person_who_says_leave_leaves_the_machine(monkeypatch, answer, leave):
    monkeypatch.setattr(interrupts, "at_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert interrupts.Interrupts().leave_it() == leave


def test_nobody_is_asked_without_a_terminal_or_after_sigterm(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("leave\n"))
    assert not interrupts.Interrupts().leave_it()
    monkeypatch.setattr(interrupts, "at_terminal", lambda: True)
    asked = interrupts.Interrupts()
    with pytest.raises(KeyboardInterrupt):
        asked._handle(signal.SIGTERM, None)
    assert not asked.leave_it()


@pytest.mark.full
def test_a_killed_dvc_takes_this_command_along_and_leaves_the_run(ec2_cli, tmp_path):
    """As dvc starts it: through a shell. Nothing is heard when dvc is killed."""
    dvc = tmp_path / "dvc"
    dvc.write_text("import subprocess, sys\nsubprocess.run(sys.argv[1:])\n")
    with open(tmp_path / "log", "wb") as log:
        parent = subprocess.Popen(
            [sys.executable, dvc, sys.executable, "scripts/ec2.py", "run"],
            cwd=ec2_cli.folder,
            env=ec2_cli.environment | ec2_cli.without_dvc,
            stdout=log,
            stderr=log,
        )
    ec2_cli.puppet()
    parent.kill()
    parent.wait()
    until(lambda: "the dvc process that started this stage has ended" in (tmp_path / "log").read_text())
    assert len(ec2_cli.instances()) == 1


def test_the_deadline_ends_a_machine_that_does_not_end_itself(ec2_cli, monkeypatch):
    monkeypatch.setattr(watcher, "_ENDING", 0)
    ec2_cli.set(max_hours=1 / 3600)
    text = ec2_cli.ec2("run", code=1)
    assert "the machine has reached its deadline (runner.max_hours, or what runner.max_dollars allowed)" in text
    assert ec2_cli.instances() == [] and sum(call.action == "RunInstances" for call in ec2_cli.aws.calls) == 1


@pytest.mark.parametrize(("left", "followed"), [(30, False), pytest.param(600, True, marks=pytest.mark.full)])
def test_a_machine_that_ended_at_its_deadline_is_not_followed_by_another(ec2_cli, left, followed):
    command, machine = watching(ec2_cli)
    claim = machine.claim | {"deadline": time.time() + left}
    ec2_cli.store.put(f"{machine.run}/attempts/1.json", claim)
    machine.dies()
    if followed:
        ec2_cli.puppet(2).finishes()
        command.ends(0)
    else:
        assert "reached its deadline" in command.ends(1)
    assert sum(call.action == "RunInstances" for call in ec2_cli.aws.calls) == 1 + followed


@pytest.mark.full
def test_waits_for_s3_outage(ec2_cli, networks):
    command, machine = watching(ec2_cli)
    networks[0].fail("503", times=2)
    command.shows("ec2: S3 gives no answer, trying again")
    machine.finishes()
    command.ends(0)


def test_ends_the_machine_after_a_long_s3_outage(ec2_cli, networks):
    command, _ = watching(ec2_cli)
    networks[0].down()
    text = command.ends(1)
    assert "S3 has not answered 3 times in a row, while EC2 does" in text and "ec2: ended the machine i-" in text
    assert ec2_cli.instances() == []


def test_run_continues_without_network(ec2_cli, networks):
    command, machine = watching(ec2_cli)
    for network in networks:
        network.down()
    text = command.ends(1)
    assert "neither S3 nor EC2 answers; the machine goes on, trying again" in text
    assert "the network here is lost, neither S3 nor EC2 answers" in text
    assert f"The run {machine.run} continues on its machine, which ends by itself by" in text
    assert "could not be ended" not in text, "nothing is to be ended"
    assert len(ec2_cli.instances()) == 1 and not [c for c in ec2_cli.aws.calls if c.action == "TerminateInstances"]


@pytest.mark.full
def test_recovers_after_network_loss(ec2_cli, networks):
    command, machine = watching(ec2_cli)
    for network in networks:
        network.fail("cut", times=4)
    command.shows("neither S3 nor EC2 answers")
    machine.finishes()
    command.ends(0)


def test_an_error_of_ours_ends_the_machine(ec2_cli):
    command, machine = watching(ec2_cli)
    ec2_cli.store.put(f"{machine.run}/1/status.json", b"no JSON")
    assert "JSONDecodeError" in command.ends(1)
    assert ec2_cli.instances() == []


def test_stop_ends_the_machine_and_no_other_starts(ec2_cli):
    command, machine = watching(ec2_cli)
    marked = []
    ec2_cli.aws.watchers.append(lambda what, ids: marked.append(ec2_cli.store.read(f"{machine.run}/attempts/1.json")))
    text = ec2_cli.ec2("stop", machine.run[:4])
    assert marked[0]["stopped"], "marked before the machine ends: a watcher in between would start another"
    assert f"ended {machine.claim['instance']} (g5.xlarge in us-east-1a, run {machine.run})" in text
    assert "the run was stopped by tester on " in command.ends(1)
    assert ec2_cli.instances() == [] and sum(call.action == "RunInstances" for call in ec2_cli.aws.calls) == 1


class Late(Attempts):
    """Attempts that a person marks as stopped between the second look at them and the third."""

    looks = 0

    def read(self, attempt):
        self.looks += 1
        if self.looks == 3:
            self.write(attempt, ended=time.time(), stopped="a colleague")
        return super().read(attempt)


@pytest.mark.parametrize(
    ("reason", "looks"), [("Client.UserInitiatedShutdown: as a person said", 3), ("Server.SpotInstanceTermination", 1)]
)
def test_manual_termination_waits_for_its_reason(ec2_cli, reason, looks):
    attempts = Late(ec2_cli.store, "0123456789abcdef")
    attempt = attempts.claim(1, "code")
    gone = Instance("i-1", "terminated", "g5.xlarge", "us-east-1a", True, 0.0, attempts.run, 1, None, None, reason)
    now = reconcile.final_state(attempts, attempt, gone)
    assert attempts.looks == looks and now.over == (looks == 3)
    assert now.claim.stopped == ("a colleague" if looks == 3 else None)


def test_stop_all_spares_what_is_not_ours(ec2_cli):
    other = ec2_cli.aws.client("ec2").run_instances(
        ImageId=ec2_cli.aws.rules.image, MinCount=1, MaxCount=1, InstanceType="t3.micro"
    )["Instances"][0]["InstanceId"]
    command, _ = watching(ec2_cli)
    ec2_cli.ec2("stop", "--all")
    command.ends(1)
    assert [each["InstanceId"] for each in ec2_cli.instances()] == [other]
    assert "say which run, or --all" in ec2_cli.ec2("stop", code=1)


def test_looking_at_a_run(ec2_cli):
    assert "no machine in us-east-1" in ec2_cli.ec2("ls") and "no training on EC2 yet" in ec2_cli.ec2("cost")
    assert "no machine is running" in ec2_cli.ec2("logs", code=1)
    command, machine = watching(ec2_cli)
    machine.says("", epoch=2, val_map50=0.0801)
    (row,) = json.loads(ec2_cli.ec2("ls", "--json"))
    assert row.pop("minutes") >= 0 and row.pop("dollars") >= 0
    assert row == {
        "run": machine.run,
        "attempt": 1,
        "machine": machine.claim["instance"],
        "state": "running",
        "type": "g5.xlarge",
        "zone": "us-east-1a",
        "spot": True,
        "phase": "training",
        "epoch": 2,
        "epochs": 3,
        "val_map50": 0.0801,
        "deadline": machine.claim["deadline"],
    }
    table = ec2_cli.ec2("ls").splitlines()
    assert table[1].split()[:9] == [
        machine.run, machine.claim["instance"], "g5.xlarge", "us-east-1a", "spot", "training", "2/3", "0.0801",
        table[1].split()[8],
    ]  # fmt: skip
    assert ec2_cli.ec2("logs").splitlines()[0] == EPOCH
    assert "no run begins with zzz" in ec2_cli.ec2("logs", "zzz", code=1)

    watcher = ec2_cli.start("attach", machine.run[:5])
    watcher.shows(EPOCH)
    watcher.interrupt()
    assert "the run continues" in watcher.ends(130) and len(ec2_cli.instances()) == 1
    watcher = ec2_cli.start("attach")
    watcher.shows(EPOCH)
    machine.finishes()
    command.ends(0)
    assert "ec2: done; `dvc repro` brings the result" in watcher.ends(0)

    assert "ec2: done" in ec2_cli.ec2("logs", machine.run)
    text = ec2_cli.ec2("cost")
    assert re.search(rf"{machine.run} +20\d\d-.* done +1 +g5.xlarge in us-east-1a, spot +1\.0 +0\.01", text), text
    assert json.loads(ec2_cli.ec2("cost", "--json"))[0]["state"] == "done"


def test_reap_ends_what_is_past_its_deadline(ec2_cli):
    command, machine = watching(ec2_cli)
    assert "no machine in us-east-1 is past its deadline" in ec2_cli.ec2("reap")
    command.kill()
    past = [{"Key": "deadline", "Value": str(int(time.time()) - 3600)}]
    ec2_cli.aws.client("ec2").create_tags(Resources=[machine.claim["instance"]], Tags=past)
    assert f"ended {machine.claim['instance']} (g5.xlarge in us-east-1a" in ec2_cli.ec2("reap")
    assert ec2_cli.instances() == []


@pytest.mark.parametrize("command", ["run", "ls", "logs", "attach", "stop", "reap", "cost", "bounds"])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as ended:
        ec2_commands.program().main([command, "--help"])
    assert ended.value.code == 0
    assert f"example: python scripts/ec2.py {command}" in capsys.readouterr().out


def test_ls_imports_nothing_heavy(root):
    """It answers in under a second, of which importing TensorFlow alone would take seven."""
    script = (
        "import sys; sys.path.insert(0, 'scripts'); sys.argv = ['ec2.py', 'ls']\n"
        "import ec2\nec2.region(checked=False)\nfrom plantdoc.aws import clients\n"
        "from plantdoc.ec2 import run_status; from plantdoc.remote import aws_context\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'pydantic', 'dvc', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
