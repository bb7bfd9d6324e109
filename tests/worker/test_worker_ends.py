"""The training machine always ends: each of what ends it alone, with all else that would end it out of reach.

That the end of a training and its failure end the machine is in test_worker.py: there, no timer is near.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import child_processes
import psutil
import pytest

pytest_plugins = ["ec2_fixtures", "worker_fixtures"]
pytestmark = pytest.mark.slow
HANGS = "time.sleep(1000)"
# Printing is no progress, so it never stops; slower than the log takes it, so that what was said before is kept there.
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: print('still here', flush=True); time.sleep(0.01)"


@pytest.fixture
def changed(repository):
    """A function that puts other content in files of the repository, until the test is over."""
    before: dict[Path, str] = {}

    def change(name: str, text: str) -> None:
        before.setdefault(repository / name, (repository / name).read_text())
        (repository / name).write_text(text)

    yield change
    for path, text in before.items():
        path.write_text(text)


def processes(machine, *words: str) -> list[psutil.Process]:
    """Processes of the machine whose command line has all of `words`."""
    return child_processes.below(machine.process.pid, *words)


@pytest.mark.full
def test_the_timer_ends_it(make_run):
    run = make_run(minute=4.0, FAKE_AT_START=DEAF)
    machine = run.launch(minutes=2)
    run.ended(machine)
    assert machine.why == "shutdown"
    assert machine.ended - machine.started >= 2


@pytest.mark.full
def test_its_own_deadline_ends_it_with_a_word_and_keeps_the_last_epoch(make_run, tmp_path):
    (tmp_path / "hold").touch()
    run = make_run(FAKE_HOLD=str(tmp_path / "hold"))
    machine = run.launch(deadline=30)
    end = run.ended(machine)
    assert (end["state"], machine.why) == ("failed", "shutdown")
    assert end["reason"].startswith("time limit reached (runner.max_hours, runner.max_dollars)")
    assert run.store.has(f"{run.id}/checkpoint/last.npz")


@pytest.mark.full
@pytest.mark.parametrize(
    "training",
    [pytest.param(HANGS, id="hangs"), pytest.param(DEAF, id="deaf")],
)
def test_no_progress_ends_it(make_run, training):
    run = make_run(FAKE_AFTER_TWO=training)
    machine = run.launch(stall_minutes=0.2)
    end = run.ended(machine)
    assert (end["state"], machine.why) == ("failed", "shutdown")
    assert end["reason"] == "no progress for 0.2 minutes (runner.stall_minutes)"
    assert "epoch 2: box" in run.log()


@pytest.mark.full
def test_a_training_longer_than_that_is_let_alone_while_it_gets_on(make_run):
    run = make_run(FAKE_STEP="1.2")
    assert run.ended(run.launch(stall_minutes=0.3))["state"] == "done"


@pytest.mark.full
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo the disk is on fire\nexit 3\n", "the machine failed (3):\nthe disk is on fire"),
        ("kill -9 $$\n", "the machine failed (137)"),
        ("if then\n", "the machine failed (2)"),
    ],
    ids=["fails", "killed", "no shell script"],
)
def test_a_crash_of_the_bootstrap_ends_it(make_run, changed, text, reason):
    changed("infra/worker/bootstrap.sh", text)
    run = make_run()
    machine = run.launch()
    end = run.ended(machine)
    assert (end["state"], machine.why) == ("failed", "shutdown")
    assert end["reason"].startswith(reason)


@pytest.mark.full
def test_an_environment_that_cannot_be_made_ends_it(make_run, changed):
    changed("requirements-train.txt", "# another lock: no image has its environment\n")
    changed("Makefile", "train-environment:\n\t@echo no route to the package index; exit 1\n")
    run = make_run()
    end = run.ended(run.launch())
    assert end["state"] == "failed"
    assert "no route to the package index" in end["reason"]
    assert run.status()["phase"] == "environment"


@pytest.mark.full
def test_gpu_instance_ends_before_installing_for_a_cpu_run(make_run):
    run = make_run()
    end = run.ended(run.launch(gpu=False))
    assert end["state"] == "failed"
    assert "this machine has an NVIDIA GPU, and the run is for machines without one" in end["reason"]


def test_the_death_of_the_agent_ends_it(make_run, tmp_path):
    (tmp_path / "hold").touch()
    run = make_run(FAKE_HOLD=str(tmp_path / "hold"))
    machine = run.launch()
    run.until("training", 3)
    for process in processes(machine, "scripts/worker.py"):
        process.kill()
    end = run.ended(machine)
    assert (end["state"], machine.why) == ("failed", "shutdown")
    assert end["reason"].startswith("the machine failed (137)")


@pytest.mark.full
def test_the_watch_ends_it_when_nothing_else_is_left(make_run, tmp_path):
    (tmp_path / "hold").touch()
    run = make_run(FAKE_HOLD=str(tmp_path / "hold"))
    machine = run.launch(stall_minutes=0.2)
    run.until("training", 2)
    shells = [p for p in processes(machine, "bash") if p.ppid() == machine.process.pid]
    shells += [p for p in processes(machine, "bootstrap.sh") if p.parent() in shells]
    assert len(shells) == 2, "user-data and bootstrap"
    for process in [*shells, *processes(machine, "scripts/worker.py"), *processes(machine, "src/train.py")]:
        process.kill()
    end = run.ended(machine)
    assert (end["reason"], machine.why) == ("no progress for 0.2 minutes (runner.stall_minutes)", "shutdown")


@pytest.mark.full
def test_s3_gone_for_good_ends_it(make_run, network, tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    run = make_run(FAKE_HOLD=str(hold), AWS_MAX_ATTEMPTS="1", PLANTDOC_BEAT="0.05")
    machine = run.launch()
    run.world.wait(lambda: run.store.has(f"{run.id}/checkpoint/last.npz"))
    network.down()
    assert run.ended(machine) is None
    assert machine.why == "shutdown"


@pytest.mark.full
def test_s3_gone_from_the_first_ends_it(make_run, network):
    run = make_run(AWS_MAX_ATTEMPTS="2")
    network.down()
    machine = run.launch()
    assert run.ended(machine) is None
    assert machine.why == "shutdown"


@pytest.mark.full
def test_s3_gone_for_a_while_loses_no_word(make_run, network):
    run = make_run(FAKE_STEP="0.2", AWS_MAX_ATTEMPTS="1")
    machine = run.launch()
    run.until("training", 2)
    network.down()
    run.world.wait(lambda: len(network.harmed) > 20)
    network.up()
    assert run.ended(machine)["state"] == "done"
    log = run.log()
    assert all(f"epoch {n}: box" in log for n in (1, 2, 3, 4))
    assert run.status()["log"] == len(run.store.keys(f"{run.id}/1/log/"))


@pytest.mark.full
def test_no_credentials_ends_it(make_run):
    run = make_run(AWS_MAX_ATTEMPTS="2", AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:1")
    machine = run.launch()
    assert run.ended(machine) is None
    assert machine.why == "shutdown"


def test_what_ends_it_is_armed_before_anything_else(run):
    lines = run.user_data(minutes=77).splitlines()
    assert lines.index("trap finish EXIT") < lines.index("shutdown -P +77")
    before = [line for line in lines[: lines.index("shutdown -P +77")] if re.match(r"\w", line)]
    assert [re.match(r"\w+", line)[0] for line in before] == ["set", "finish", "exec", "folder", "trap", "trap"]


@pytest.mark.full
def test_signals_do_not_kill_user_data_before_it_has_ended_the_machine(make_run, tmp_path):
    (tmp_path / "hold").touch()
    run = make_run(FAKE_HOLD=str(tmp_path / "hold"))
    machine = run.launch()
    run.until("training", 3)
    shells = processes(machine, "bash")
    for process in (*shells, *processes(machine, "scripts/worker.py")):
        process.send_signal(signal.SIGTERM)
    end = run.ended(machine)
    assert (end["state"], machine.why) == ("interrupted", "shutdown")
