"""`scripts/ec2.py run` from end to end, but for the machine: a test says what that does, see fake_ec2_cli.py."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ec2_commands import until
from fake_ec2_cli import OUTPUTS

from plantdoc.ec2 import attempts
from plantdoc.train import progress

pytest_plugins = ["ec2_fixtures"]
pytestmark = pytest.mark.slow
EPOCH = "epoch 1: box 0.512, class 1.204, val mAP 0.0312, mAP@50 0.0801, the best so far"


@pytest.fixture
def real_dvc(ec2_cli, monkeypatch):
    """DVC in place of the one that does nothing."""
    monkeypatch.delenv("PYTHONPATH")


def claim(ec2_cli, run: str, n: int = 1) -> dict:
    return ec2_cli.store.read(f"{run}/attempts/{n}.json")


def outputs(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS if (folder / name).exists()}


def launches(ec2_cli) -> int:
    return sum(call.action == "RunInstances" for call in ec2_cli.aws.calls)


def test_from_nothing_to_outputs_in_place(ec2_cli):
    (ec2_cli.folder / "models/detector").mkdir(parents=True)
    (ec2_cli.folder / "models/detector/stale.h5").write_text("of before")
    (ec2_cli.folder / ".env").write_text("TOKEN=planted-s3cret")
    command = ec2_cli.spawn("run", dvc=True)
    machine = ec2_cli.puppet()
    machine.says("", phase="environment")
    command.shows("setting up the environment")
    machine.says(f"train: weights: 3 of 3 matched\r\n{EPOCH}\r\n")
    command.shows(EPOCH)
    machine.finishes()
    text = command.ends(0)

    assert any(key.startswith("dvc/files/md5/") for key in ec2_cli.swift.objects(ec2_cli.bucket))
    assert outputs(ec2_cli.folder) == OUTPUTS
    now = progress.read(ec2_cli.folder)
    assert (now.state, now.run, now.epochs) == ("done", machine.run, 3)
    assert (now.instance["id"], now.instance["type"]) == (machine.claim["instance"], "g5.xlarge")
    assert now.instance["ended"] >= now.instance["launched"] == machine.claim["launched"]
    assert now.message.startswith("ec2: outputs in place")
    assert not (ec2_cli.folder / "models/detector/stale.h5").exists() and not list(ec2_cli.folder.rglob("*.partial"))
    assert ec2_cli.instances() == [] and launches(ec2_cli) == 1
    lines = text.splitlines()
    id = machine.claim["instance"]
    assert EPOCH in lines, "a sweep reads the line as train printed it"
    assert [line for line in lines if line.startswith("ec2: ") and "done in" not in line] == [
        f"ec2: run {machine.run}",
        "ec2: sending data/tfrecords, as far as the remote lacks it",
        next(line for line in lines if line.startswith("ec2: sent the code, 0.")),
        "ec2: g5.xlarge in us-east-1a, spot: $0.4700 an hour (spot price in us-east-1a now); at most 4.0 h and $5.00",
        f"ec2: machine {id}: g5.xlarge in us-east-1a, spot, $0.4700 an hour; ends by itself by "
        + time.strftime("%H:%M", time.localtime(machine.claim["deadline"])),
        "ec2: setting up the environment",
        "ec2: training",
        next(line for line in lines if line.startswith("ec2: outputs in place, 0.0 MB; g5.xlarge in us-east-1a, spot")),
    ]
    assert "%|" not in text and "\x1b" not in text

    cost = json.loads((ec2_cli.folder / "results/cost.json").read_text())
    assert cost["augment"] and cost["train"] == {
        "attempts": 1,
        "dollars": round(0.47 / 60, 4),  # AWS bills a minute at least
        "minutes": 1.0,
        "machine": "g5.xlarge in us-east-1a, spot, AMD, 4 cores, NVIDIA A10G",
        "output": "0" * 64,
        "pictures_per_second": 12.5,
    }
    about = claim(ec2_cli, machine.run)
    assert about["type"] == "g5.xlarge" and about["zone"] == "us-east-1a" and about["spot"] is True
    assert abs(about["ended"] - time.time()) < 60 and about["price"] == 0.47 and about["region"] == "us-east-1"


def test_a_finished_run_is_taken_without_a_machine_or_an_upload(ec2_cli):
    command = ec2_cli.start("run")
    ec2_cli.puppet().finishes()
    command.ends(0)
    shutil.rmtree(ec2_cli.folder / "models/detector")
    before = len(ec2_cli.swift.requests())
    ec2_cli.ec2("run")
    assert outputs(ec2_cli.folder) == OUTPUTS and launches(ec2_cli) == 1
    assert not [r for r in ec2_cli.swift.requests()[before:] if r.method == "PUT"]


@pytest.mark.full
def test_the_second_run_sends_what_changed(ec2_cli, real_dvc):
    command = ec2_cli.start("run")
    ec2_cli.puppet().finishes()
    command.ends(0)
    first = set(ec2_cli.swift.objects(ec2_cli.bucket))
    text = (ec2_cli.folder / "params.yaml").read_text()
    (ec2_cli.folder / "params.yaml").write_text(text.replace("lr: 0.1", "lr: 0.2", 1))
    before = len(ec2_cli.swift.requests())
    second = ec2_cli.start("run")
    until(lambda: len(ec2_cli.instances()) == 1)
    sent = sum(r.received for r in ec2_cli.swift.requests()[before:] if r.method == "PUT")
    assert 100_000 < sent < 1_000_000, sent
    assert not [key for key in set(ec2_cli.swift.objects(ec2_cli.bucket)) - first if key.startswith("dvc/")]
    second.interrupt()
    second.ends(130)


def test_a_machine_taken_away_is_followed_by_another(ec2_cli):
    command = ec2_cli.start("run")
    first = ec2_cli.puppet(1)
    first.says(f"{EPOCH}\r\n")
    first.ends("interrupted", "spot interruption notice")
    second = ec2_cli.puppet(2)
    assert [each["InstanceId"] for each in ec2_cli.instances()] == [second.claim["instance"]]
    second.dies()
    third = ec2_cli.puppet(3)
    third.finishes()
    text = command.ends(0)
    assert "ec2: the machine was taken away: spot interruption notice" in text
    assert "ec2: the machine of attempt 2 stopped without reporting a reason" in text
    assert ec2_cli.instances() == [] and launches(ec2_cli) == 3
    cost = json.loads((ec2_cli.folder / "results/cost.json").read_text())["train"]
    assert cost["attempts"] == 3 and cost["minutes"] == 3.0 and cost["dollars"] == round(3 * 0.47 / 60, 4)


def test_max_attempts_is_respected(ec2_cli):
    ec2_cli.set(max_attempts=2)
    command = ec2_cli.start("run")
    ec2_cli.puppet(1).dies()
    ec2_cli.puppet(2).ends("interrupted", "spot interruption notice")
    assert "runner.max_attempts = 2: as many machines were taken away" in command.ends(1)
    assert launches(ec2_cli) == 2 and ec2_cli.instances() == []


def test_a_failed_training_is_an_error_and_no_other_machine(ec2_cli):
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    machine.ends("failed", "train: the loss is not finite at step 3: lower lr")
    text = command.ends(1)
    assert "ec2: the training failed on its machine: train: the loss is not finite at step 3: lower lr" in text
    assert f"python scripts/ec2.py logs {machine.run}" in text
    assert ec2_cli.instances() == [] and launches(ec2_cli) == 1
    # Whoever mended what was wrong elsewhere may try again.
    again = ec2_cli.start("run")
    ec2_cli.puppet(2).finishes()
    again.ends(0)
    sent = [r.path for r in ec2_cli.swift.requests() if r.method == "PUT" and f"/{ec2_cli.bucket}/runs/code/" in r.path]
    assert len(sent) == 1, "the code was there already"


def test_unseen_failure_is_reported_before_another_machine_starts(ec2_cli):
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    command.kill()
    machine.ends("failed", "no progress for 20 minutes")
    assert "no progress for 20 minutes" in ec2_cli.ec2("run", code=1)
    assert launches(ec2_cli) == 1 and ec2_cli.instances() == []


@pytest.mark.full
def test_run_survives_a_killed_launcher_and_the_next_attaches(ec2_cli):
    first = ec2_cli.spawn("run")
    machine = ec2_cli.puppet()
    machine.says(f"{EPOCH}\r\n")
    first.shows(EPOCH)
    first.kill()
    assert len(ec2_cli.instances()) == 1
    second = ec2_cli.start("run")
    second.shows(EPOCH)
    machine.finishes()
    second.ends(0)
    assert launches(ec2_cli) == 1 and outputs(ec2_cli.folder) == OUTPUTS


def test_a_result_made_while_nobody_watched_is_taken(ec2_cli):
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    command.kill()
    machine.finishes()
    ec2_cli.ec2("run")
    assert outputs(ec2_cli.folder) == OUTPUTS and launches(ec2_cli) == 1 and ec2_cli.instances() == []


@pytest.mark.full
def test_two_clones_at_once_start_one_machine(ec2_cli, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(ec2_cli.folder, other, symlinks=True)
    both = [ec2_cli.spawn("run"), ec2_cli.spawn("run", folder=other)]
    machine = ec2_cli.puppet()
    for command in both:
        command.shows(f"ec2: machine {machine.claim['instance']}")
    machine.says(f"{EPOCH}\r\n")
    machine.finishes()
    for command in both:
        assert EPOCH in command.ends(0)
    assert launches(ec2_cli) == 1 and ec2_cli.instances() == []
    assert outputs(ec2_cli.folder) == outputs(other) == OUTPUTS


def test_of_many_at_once_one_gets_the_claim(ec2_cli):
    rivals = [attempts.Attempts(ec2_cli.store, "0123456789abcdef") for _ in range(8)]
    start = threading.Barrier(len(rivals))

    def try_to_claim(rival: attempts.Attempts) -> attempts.Attempt | None:
        start.wait()
        return rival.claim(1, "c0de")

    with ThreadPoolExecutor(len(rivals)) as pool:
        won = list(filter(None, pool.map(try_to_claim, rivals)))
    # Swift may let more than one in, unlike AWS; before it asks for a machine, each looks again.
    assert sum(rivals[0].renew(each) for each in won) == 1
    assert rivals[0].claim(1, "c0de") is None


def run_id(ec2_cli) -> str:
    """As the command names the run, without an AWS that answers."""
    with pytest.MonkeyPatch.context() as patches:
        for service in ("", "_S3"):
            patches.setenv(f"AWS_ENDPOINT_URL{service}", "http://127.0.0.1:1")
        return ec2_cli.ec2("run", code=1).split("ec2: run ")[1].split()[0]


def put_claim(ec2_cli, run: str, **changes: object) -> None:
    nothing = dict.fromkeys(("launched", "instance", "type", "zone", "region", "spot", "price", "deadline"))
    ec2_cli.store.put(f"{run}/attempts/1.json", nothing | {"token": "t", "time": time.time(), "code": "c"} | changes)


@pytest.mark.full
def test_a_claim_without_a_machine_is_waited_for_and_then_taken_over(ec2_cli, monkeypatch):
    run = run_id(ec2_cli)
    put_claim(ec2_cli, run, time=time.time() - 3600)  # its launcher's clock is wrong: S3's counts
    command = ec2_cli.start("run")
    command.shows("ec2: attempt 1 is being started elsewhere")
    assert launches(ec2_cli) == 0
    monkeypatch.setenv("PLANTDOC_PATIENCE", "-1")
    ec2_cli.puppet(2).finishes()
    text = command.ends(0)
    assert "ec2: the launcher of attempt 1 ended without starting a machine" in text and launches(ec2_cli) == 1
    assert claim(ec2_cli, run)["ended"]


def test_a_fresh_claim_is_left_alone(ec2_cli):
    put_claim(ec2_cli, run_id(ec2_cli))
    command = ec2_cli.start("run")
    command.shows("ec2: attempt 1 is being started elsewhere")
    looks = len(ec2_cli.aws.calls)
    until(lambda: len(ec2_cli.aws.calls) > looks + 5)
    assert launches(ec2_cli) == 0 and command.under_way


@pytest.mark.full
def test_a_machine_that_nobody_wrote_down_is_adopted(ec2_cli):
    """Killed between RunInstances and the claim's second writing."""
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    command.kill()
    put_claim(ec2_cli, machine.run, token=machine.claim["token"])
    second = ec2_cli.start("run")
    second.shows(f"ec2: machine {machine.claim['instance']}: g5.xlarge in us-east-1a, spot, $0.4700 an hour")
    written = claim(ec2_cli, machine.run)
    assert {key: written[key] for key in ("instance", "type", "zone", "spot", "price", "deadline")} == {
        key: machine.claim[key] for key in ("instance", "type", "zone", "spot", "price", "deadline")
    }
    machine.finishes()
    second.ends(0)
    assert launches(ec2_cli) == 1 and ec2_cli.instances() == []


@pytest.mark.full
def test_ec2_shows_a_new_machine_late(ec2_cli):
    ec2_cli.aws.rules.lag = 3
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    machine.says(f"{EPOCH}\r\n")
    command.shows(EPOCH)
    machine.finishes()
    command.ends(0)
    assert launches(ec2_cli) == 1


@pytest.mark.full
def test_ec2_forgets_a_machine_for_a_moment(ec2_cli):
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    machine.says(f"{EPOCH}\r\n")
    command.shows(EPOCH)
    ec2_cli.aws.rules.lag = 600
    looks = len(ec2_cli.aws.calls)
    until(lambda: len(ec2_cli.aws.calls) > looks + 4)
    ec2_cli.aws.rules.lag = 0
    machine.finishes()
    text = command.ends(0)
    assert "has gone" not in text and text.count(EPOCH) == 1 and launches(ec2_cli) == 1


@pytest.mark.full
def test_overtaken_launcher_ends_its_own_machine(ec2_cli):
    """A launcher that was asleep: its claim was given up for lost while it started a machine."""
    held = {}

    def overtake(what: str, ids: list[str]) -> None:
        if what == "run" and not held:
            (run,) = (name for name in ec2_cli.store.folders() if name not in ("code", "weights"))
            held.update(claim(ec2_cli, run))
            ec2_cli.store.put(f"{run}/attempts/1.json", held | {"ended": time.time()})

    ec2_cli.aws.watchers.append(overtake)
    command = ec2_cli.start("run")
    second = ec2_cli.puppet(2)
    until(lambda: [each["InstanceId"] for each in ec2_cli.instances()] == [second.claim["instance"]])
    second.finishes()
    command.ends(0)
    assert ec2_cli.instances() == [] and launches(ec2_cli) == 2


@pytest.mark.full
def test_a_machine_of_an_earlier_attempt_is_ended(ec2_cli):
    command = ec2_cli.start("run")
    first = ec2_cli.puppet(1)
    ec2_cli.store.put(f"{first.run}/attempts/1.json", first.claim | {"ended": time.time()})  # written off, but alive
    second = ec2_cli.puppet(2)
    until(lambda: [each["InstanceId"] for each in ec2_cli.instances()] == [second.claim["instance"]])
    second.finishes()
    command.ends(0)


def test_damaged_outputs_change_nothing_here(ec2_cli):
    before = {path: path.read_bytes() for path in (ec2_cli.folder / "results").rglob("*") if path.is_file()}
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    machine.finishes()
    command.ends(0)
    shutil.rmtree(ec2_cli.folder / "models/detector")
    (ec2_cli.folder / "results/train/metrics.json").write_text("mine")
    result = ec2_cli.store.read(f"{machine.run}/result.json")
    ec2_cli.store.put(f"{machine.run}/outputs/{result['outputs']['models/detector/config.json']['sha256']}", b"damaged")
    assert "is damaged" in ec2_cli.ec2("run", code=1)
    assert not (ec2_cli.folder / "models/detector").exists()
    assert (ec2_cli.folder / "results/train/metrics.json").read_text() == "mine"
    assert before is not None and not list(ec2_cli.folder.rglob("*.partial"))


def test_outputs_stay_in_their_folders(ec2_cli):
    command = ec2_cli.start("run")
    ec2_cli.puppet().finishes(OUTPUTS | {"models/detector/../../params.yaml": b"lr: 9"})
    assert "names models/detector/../../params.yaml: nothing was changed" in command.ends(1)
    assert b"lr: 9" not in (ec2_cli.folder / "params.yaml").read_bytes() and ec2_cli.instances() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"attempt": 2}, "nobody has claimed its attempt 2"),
        ({"made_from": {"lr": 9}}, "its made_from is that of run "),
        ({"attempt": "1"}, "it is no result of a training"),
        ({"made_from": None}, "it is no result of a training"),
        ({"outputs": ["x"]}, "it is no result of a training"),
    ],
)
def test_a_result_that_no_machine_of_the_run_wrote_is_not_taken(ec2_cli, changes, fault):
    """The role of machines may write the results of all runs, but no claims."""
    run = run_id(ec2_cli)
    put_claim(ec2_cli, run, instance="i-0123456789abcdef0", launched=time.time() - 7200, ended=time.time())
    honest = {"attempt": 1, "time": 0.0, "made_from": ec2_cli.made_from(), "outputs": {}, "cost": {}}
    ec2_cli.store.put(f"{run}/result.json", honest | changes)
    text = ec2_cli.ec2("run", code=1)
    assert f"runs/{run}/result.json was not written by a machine of this run ({fault}" in text
    assert "nothing was taken from it" in text and "delete it" in text
    assert launches(ec2_cli) == 0


def test_a_result_of_an_attempt_without_a_machine_is_not_taken(ec2_cli):
    run = run_id(ec2_cli)
    put_claim(ec2_cli, run)
    result = {"attempt": 1, "time": 0.0, "made_from": ec2_cli.made_from(), "outputs": {}, "cost": {}}
    ec2_cli.store.put(f"{run}/result.json", result)
    assert "(no machine was ever started for its attempt 1)" in ec2_cli.ec2("run", code=1)


def test_nothing_starts_where_the_data_cannot_be_sent(ec2_cli, real_dvc):
    (ec2_cli.folder / "dvc.lock").write_text("no YAML: [")
    assert "dvc push failed" in ec2_cli.ec2("run", code=1) and launches(ec2_cli) == 0


def test_a_folder_as_remote_is_refused(ec2_cli, real_dvc, tmp_path):
    (ec2_cli.folder / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {tmp_path}/storage\n"
    )
    assert "make aws BUCKET=name" in ec2_cli.ec2("run", code=1)
