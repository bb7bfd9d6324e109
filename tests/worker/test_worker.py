"""A training machine, started by its real user-data: what it reads, sends and leaves, and that another goes on."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess

import fake_ec2
import fake_learner
import fake_s3_network
import pytest
import worker_run

from plantdoc.core.errors import UserError
from plantdoc.worker import inputs
from plantdoc.worker.job import Job

pytest_plugins = ["ec2_fixtures", "worker_fixtures"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(repository):
    """The bits of the weights after an uninterrupted training, by its formula."""
    return kept(repository)


def kept(repository, weights=None) -> bytes:
    """The weights of the best epoch."""
    begin = fake_learner.begin(repository / "data/tfrecords", 0.1, weights)
    return fake_learner.after(begin, fake_learner.BEST).tobytes()


def test_a_machine_trains_tells_and_ends(run, network, expected):
    network.requests.clear()
    machine = run.launch()
    end = run.ended(machine)
    assert (end["state"], end["exit"], machine.why) == ("done", 0, "shutdown"), (end, run.log())
    result = run.store.read(f"{run.id}/result.json")
    assert (result["attempt"], result["made_from"]["lr"]) == (1, 0.1) and result["cost"]["minutes"] > 0
    outputs = run.outputs()
    assert outputs.keys() == worker_run.OUTPUTS
    assert outputs["models/detector/detector.weights.h5"] == expected
    status = run.status()
    assert (status["phase"], status["epoch"], status["epochs"], status["step"], status["steps"]) == (
        "outputs", 4, 4,
        20, 20,
    )  # fmt: skip
    assert status["val_map50"] == pytest.approx(0.8)
    assert [row["box"] for row in status["history"]] == [0.1] * 4 and status["best_epoch"] == fake_learner.BEST
    log = run.log()
    assert [int(n) for n in re.findall(r"(?m)^epoch (\d): box", log)] == [1, 2, 3, 4]
    assert "%|" not in log, "bars are for terminals"
    assert status["log"] == len(run.store.keys(f"{run.id}/1/log/"))
    assert "train: done in" in last_words(log), "the last words are missing"
    check_order([r.key.split(f"{run.id}/", 1)[1] for r in network.requests if r.method == "PUT" and run.id in r.key])
    check_restart(machine)


def last_words(log: str) -> str:
    """The last line; DVCLive ends a process on a terminal with a reset of colours."""
    return log.replace("\x1b[0m", "").splitlines()[-1]


def check_order(written: list[str]) -> None:
    """The end comes after all words, the result after all outputs, an epoch after its best weights."""
    assert written[0] == "1/status.json"
    assert written[-1] == "1/end.json"
    assert written[-2] == "1/status.json"
    outputs = [i for i, key in enumerate(written) if key.startswith("outputs/")]
    assert len(outputs) == len(worker_run.OUTPUTS)
    assert max(outputs) < written.index("result.json") < written.index("1/end.json")
    checkpoints = [key for key in written if key.startswith("checkpoint/")]
    assert checkpoints
    for i, key in enumerate(checkpoints):
        if key == "checkpoint/last.npz":
            assert any(earlier.startswith("checkpoint/best-") for earlier in checkpoints[:i])


def check_restart(machine) -> None:
    """What the machine runs after a restart, which no timer survives, ends it."""
    [script] = (machine.folder / "opt/var/lib/cloud/scripts/per-boot").iterdir()
    assert os.access(script, os.X_OK)
    (machine.folder / "said").mkdir()
    shutdown = machine.folder / "said/shutdown"
    shutdown.write_text('#!/bin/sh\necho "shutdown $*"\n')
    shutdown.chmod(0o755)
    done = subprocess.run([script], env={"PATH": str(shutdown.parent)}, capture_output=True, text=True, check=True)
    assert done.stdout == "shutdown -P now\n"


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("noticed", marks=pytest.mark.slow),
        pytest.param("killed", marks=pytest.mark.full),
        pytest.param("terminated", marks=pytest.mark.full),
    ],
)
def test_the_next_machine_goes_on_and_ends_with_the_same_bits(make_run, tmp_path, expected, how):
    hold = tmp_path / "hold"
    hold.touch()
    run = make_run(FAKE_HOLD=str(hold))
    first = run.launch()
    run.until("training", 3)
    run.world.wait(lambda: run.store.has(f"{run.id}/checkpoint/best-2.npz"))
    run.world.wait(lambda: "epoch 2: box" in run.log())
    run.world.wait(lambda: run.store.has(f"{run.id}/checkpoint/last.npz"))
    if how == "killed":
        run.world.kill(first.id)
        assert run.ended(first) is None
    elif how == "noticed":
        run.world.spot_notice(first.id)
        end = run.ended(first)
        assert (end["state"], first.why) == ("interrupted", "shutdown")
        assert "takes the spot machine away (terminate at " in end["reason"]
    else:
        run.aws.client("ec2").terminate_instances(InstanceIds=[first.id])
        end = run.ended(first)
        assert (end["state"], end["reason"]) == ("interrupted", "the machine was told to end")
    hold.unlink()
    second = run.launch()
    assert run.ended(second)["state"] == "done"
    assert "train: continuing after epoch 2" in run.log()
    assert run.outputs()["models/detector/detector.weights.h5"] == expected
    assert run.store.read(f"{run.id}/result.json")["attempt"] == 2


def test_a_failed_training_is_told_in_its_own_words_and_tells_no_secret(make_run, swift):
    planted = {"AWS_SESSION_TOKEN": "planted-1", "MY_PASSWORD": "planted-2", "WANDB_API_KEY": "planted-3"}
    reason = "train: the loss is not finite at step 7: lower lr"
    run = make_run(**planted, FAKE_AFTER_TWO=f"print(dict(os.environ)); sys.exit({reason!r})")
    machine = run.launch()
    end = run.ended(machine)
    assert (end["state"], end["exit"], end["reason"], machine.why) == ("failed", 1, reason, "shutdown")
    assert reason in run.log() and "'PLANTDOC_RUNNER': 'local'" in run.log()
    assert run.store.has(f"{run.id}/checkpoint/best-2.npz")
    for key in run.swift.objects(run.bucket, f"runs/{run.id}"):
        body = run.store.client.get_object(Bucket=run.bucket, Key=key)["Body"].read()
        for secret in (*planted.values(), swift.secret, "a-session-token"):
            assert secret.encode() not in body, key


@pytest.mark.full
def test_a_training_that_the_system_kills_is_told_so(make_run):
    run = make_run(FAKE_AFTER_TWO="os.kill(os.getpid(), signal.SIGKILL)")
    end = run.ended(run.launch())
    assert (end["state"], end["reason"]) == ("failed", "the training was ended by SIGKILL (out of memory?)")


@pytest.mark.full
def test_weights_are_brought_and_checked(make_run, tmp_path, tmp_path_factory):
    weights = tmp_path / "pretrained.weights.h5"
    weights.write_bytes(b"w" * 1000)
    folder = worker_run.repository(tmp_path_factory.mktemp("weights"), train__epochs=4, model__weights=str(weights))
    run = make_run(folder=folder, weights=weights)
    assert run.ended(run.launch())["state"] == "done"
    assert run.outputs()["models/detector/detector.weights.h5"] == kept(folder, weights)


def damage(run, repository, what: str) -> dict[str, str]:
    """Damage something that a machine reads; returns what user-data is to say otherwise."""
    if what == "data":
        run.put_dvc(b"meta.json" * 1000, body=b"META.json" * 1000)
    elif what == "listing":
        run.put_dvc(worker_run.listing(repository / "data/tfrecords"), ".dir", body=b"[]")
    elif what == "missing":
        for key in run.swift.objects(run.bucket, "dvc/"):
            run.store.client.delete_object(Bucket=run.bucket, Key=key)
    elif what == "code":
        run.store.put(f"code/{run.code.sha256}.tar.gz", run.code.content[:-1] + b"?")
    else:
        run.store.client.put_object(Bucket=run.bucket, Key=f"runs/weights/{'0' * 64}", Body=b"other")
        return {"weights": "0" * 64}
    return {}


DAMAGED = {"data": "damaged", "listing": "damaged", "missing": "dvc push", "weights": "damaged", "code": "SHA-256"}


@pytest.mark.parametrize("what", ["data", "listing", "missing", "weights"])
def test_what_is_damaged_is_refused(run, repository, tmp_path, monkeypatch, what):
    """By what reads the inputs on a machine, called here."""
    (tmp_path / "clone").mkdir()
    for name in ("dvc.yaml", "dvc.lock"):
        shutil.copy(repository / name, tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    given = damage(run, repository, what)
    job = Job(run.bucket, run.id, 1, "dvc", given.get("weights", ""), tmp_path / "progress", beat=0.01)
    with pytest.raises(UserError, match=DAMAGED[what]):
        inputs.bring(run.store, job)


@pytest.mark.full
@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_damaged_is_not_trained_on(make_run, repository, what):
    run = make_run()
    machine = run.launch(**damage(run, repository, what))
    end = run.ended(machine)
    assert (end["state"], machine.why) == ("failed", "shutdown")
    assert DAMAGED[what] in end["reason"]
    assert "a formula trains" not in run.log()
    assert not run.store.has(f"{run.id}/result.json")


@pytest.mark.full
def test_other_code_than_asked_for_is_not_trained(run):
    run.id = "0123456789abcdef"
    end = run.ended(run.launch())
    assert end["state"] == "failed"
    assert "and not 0123456789abcdef" in end["reason"]


@pytest.mark.full
def test_s3_that_errs_now_and_then_changes_nothing(run, network, expected):
    for i, kind in enumerate(fake_s3_network.KINDS):
        asked = itertools.count()
        network.fail(kind, times=None, where=lambda request, asked=asked, i=i: next(asked) % 15 == 3 * i)
    end = run.ended(run.launch(), 120)
    network.up()
    assert {kind for kind, _ in network.harmed} == set(fake_s3_network.KINDS)
    assert end["state"] == "done", end
    assert run.outputs()["models/detector/detector.weights.h5"] == expected
    assert [int(n) for n in re.findall(r"(?m)^epoch (\d): box", run.log())] == [1, 2, 3, 4]


@pytest.mark.full
def test_a_machine_gives_way_to_a_later_attempt(make_run, tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    run = make_run(FAKE_HOLD=str(hold), FAKE_STEP="0.5")
    machine = run.launch()
    run.until("training", 1)
    run.store.put(f"{run.id}/attempts/2.json", {})
    end = run.ended(machine)
    assert (end["state"], end["reason"]) == ("interrupted", "attempt 2 has taken over")
    assert not run.store.has(f"{run.id}/result.json")


@pytest.mark.full
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_machine_that_nobody_could_end_stops_where_its_claim_says_so(make_run, epoch):
    """At its start, or after an epoch: TerminateInstances may not know it."""
    run = make_run(FAKE_STEP="0.5")
    machine = run.launch()
    if epoch:
        run.until("training", epoch)
    key = f"{run.id}/attempts/1.json"
    run.store.put(key, run.store.read(key) | {"ended": 1.0, "stopped": "ann on laptop"})
    end = run.ended(machine)
    assert (end["state"], end["reason"]) == ("interrupted", "the run was stopped by ann on laptop")
    assert machine.why == "shutdown" and not run.store.has(f"{run.id}/result.json")


@pytest.mark.full
def test_late_credentials_and_conflicts_change_nothing(make_run, network, expected):
    run = make_run(**{fake_ec2.LATE_CREDENTIALS: "1"})
    network.fail(fake_s3_network.CONFLICT, times=3)
    end = run.ended(run.launch())
    assert (end["state"], [kind for kind, _ in network.harmed[-3:]]) == ("done", [fake_s3_network.CONFLICT] * 3)
    assert run.outputs()["models/detector/detector.weights.h5"] == expected


@pytest.mark.full
def test_a_result_that_is_there_is_not_made_again(run):
    body = {"attempt": 7}
    run.store.put(f"{run.id}/result.json", body)
    end = run.ended(run.launch())
    assert (end["state"], end["reason"]) == ("done", "the result was there already")
    assert run.store.read(f"{run.id}/result.json") == body


@pytest.mark.full
def test_a_damaged_checkpoint_costs_time_and_nothing_else(run, expected):
    place = f"runs/{run.id}/checkpoint/last.npz"
    run.store.client.put_object(Bucket=run.bucket, Key=place, Body=b"?", Metadata={"sha256": "0" * 64})
    assert run.ended(run.launch())["state"] == "done"
    assert "machine: starting from the beginning: " in run.log()
    assert run.outputs()["models/detector/detector.weights.h5"] == expected


@pytest.mark.full
def test_a_training_that_prints_without_end_neither_fills_memory_nor_the_log(make_run, expected):
    run = make_run(FAKE_AFTER_TWO="[sys.stderr.write('x' * 1000 + chr(10)) for _ in range(20_000)]")
    assert run.ended(run.launch())["state"] == "done"
    sizes = [size for key, size in run.swift.objects(run.bucket, f"runs/{run.id}/1/log/").items()]
    assert max(sizes) <= 600_000
    log = run.log()
    assert "bytes were printed too fast to be kept" in log or sum(sizes) > 20_000_000
    assert last_words(log).startswith("train: done in")
    assert run.outputs()["models/detector/detector.weights.h5"] == expected


def test_user_data_holds_what_it_must_and_no_more(run):
    text = run.user_data()
    for value in (run.bucket, run.id, run.code.sha256):
        assert value in text
    for secret in (run.swift.secret, run.swift.key, "a-session-token"):
        assert secret not in text
