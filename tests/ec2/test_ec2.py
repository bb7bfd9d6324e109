"""Training on EC2 as a person does it: `dvc exp run -S runner.kind=ec2` in a fresh clone, to the outputs in place.

Everything is the real code: DVC, the train stage's hand-over, scripts/ec2.py, user-data, bootstrap, the machine's
agent, an S3 server. The machines are the hypervisor's, AWS is moto's with its laxity taken away, the training is short.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path

import fake_ec2_account
import fake_s3_network
import fake_training
import pytest
import small_repo

pytest_plugins = ["ec2_fixtures"]
BUCKET = "ec2-leaves"


@pytest.fixture(scope="module")
def world(swift, tmp_path_factory):
    with fake_ec2_account.running(swift, tmp_path_factory.mktemp("world"), BUCKET) as world:
        yield world


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """The repository that clones are made of; its data is there to copy."""
    return fake_training.prepared(tmp_path_factory.mktemp("origin") / "repository", BUCKET)


@pytest.fixture
def network(world):
    """What a person's own requests to S3 go through, and nobody else's."""
    with fake_s3_network.running(world.swift) as network:
        yield network


def clone(origin: Path, folder: Path) -> Path:
    small_repo.git(origin.parent, "clone", "-q", str(origin), str(folder))
    return folder


COMMAND = ("dvc", "exp", "run", "-S", "runner.kind=ec2")


@pytest.mark.slow
def test_an_experiment_in_a_fresh_clone_has_the_bits_of_a_local_run(world, origin, tmp_path):
    expected = fake_training.expected(origin, tmp_path / "local")
    folder = clone(origin, tmp_path / "clone")
    said = world.run(folder, *COMMAND)
    world.settled()
    run = world.machines.instances()[-1].tags["run"]
    assert fake_training.outputs(folder) == expected
    assert (len(world.of("run", run)), world.results(run)) == (1, 1)
    assert "epoch 4: box 0.100" in said, "its lines come here"
    assert (folder / "models/bundle/model.tar.gz").exists(), "evaluate and deploy went on here"
    cost = json.loads((folder / "results/cost.json").read_text())["train"]
    assert cost["machine"].startswith("g5.xlarge in us-east-1") and cost["dollars"] > 0
    check_role(world)


def check_role(world) -> None:
    """What machines have written is what their role in infra/base.yaml lets them write."""
    template = (small_repo.ROOT / "infra/base.yaml").read_text()
    role = re.search(r"^  MachineRole:\n(.*?)(?=^  \S)", template, re.DOTALL | re.MULTILINE)[1]
    allowed = re.findall(r"\$\{Storage.Arn\}/(runs/\?\S+)\"", role)
    assert len(allowed) > 3
    persons = ("runs/code/*", "runs/weights/*", f"runs/{'?' * 16}/attempts/*")
    keys = list(world.swift.objects(BUCKET, "runs/"))
    of_machines = [key for key in keys if not any(fnmatchcase(key, pattern) for pattern in persons)]
    assert len(of_machines) > 5
    forbidden = [key for key in of_machines if not any(fnmatchcase(key, pattern) for pattern in allowed)]
    assert not forbidden, f"infra/base.yaml does not let a machine write {forbidden}"


@pytest.mark.full
def test_next_experiment_sends_only_code_and_a_known_one_no_instance(world, origin, network, tmp_path):
    expected = fake_training.expected(origin, tmp_path / "local", lr=0.25)
    folder = fake_training.copy(origin, tmp_path / "clone", lr=0.25, runner__kind="ec2")
    world.run(folder, "dvc", "repro", network=network)
    world.settled()
    run = world.machines.instances()[-1].tags["run"]
    assert "up to date" in world.run(folder, "dvc", "status", network=network)

    # Another learning rate: the data is there, the code is small.
    sent = sum(request.size for request in network.requests)
    other = fake_training.expected(origin, tmp_path / "other", lr=0.2)
    network.requests.clear()
    world.run(folder, *COMMAND, "-S", "lr=0.2", network=network)
    assert fake_training.outputs(folder) == other
    again = sum(request.size for request in network.requests)
    print(f"sent to S3: {sent:,} bytes by the first run, {again:,} by the second")
    assert 0 < again < min(sent, 1_000_000)
    assert not [r.key for r in network.requests if r.method in ("PUT", "POST") and "/dvc/files/" in r.key]

    # The first one again, where DVC has forgotten it: its result is taken, no machine is started.
    before = len(world.machines.instances())
    world.run(folder, "git", "checkout", "-q", "params.yaml", "dvc.lock")
    small_repo.set_params(folder, runner__kind="ec2", lr=0.25)
    world.run(folder, "dvc", "repro", "-f", "-s", "train", network=network)
    assert fake_training.outputs(folder) == expected
    assert (len(world.machines.instances()), world.results(run)) == (before, 1)
    world.settled()


@pytest.mark.full
def test_two_clones_that_start_the_same_run_share_one_machine(world, origin, tmp_path):
    expected = fake_training.expected(origin, tmp_path / "local", lr=0.3)
    clones = [fake_training.copy(origin, tmp_path / f"clone-{n}", lr=0.3, runner__kind="ec2") for n in range(2)]
    before = len(world.machines.instances())
    commands = [world.start(folder, "dvc", "repro", "-s", "train") for folder in clones]
    for command, folder in zip(commands, clones, strict=True):
        assert command.ended() == 0, command.text
        assert fake_training.outputs(folder) == expected
    world.settled()
    (machine,) = world.machines.instances()[before:]
    assert world.results(machine.tags["run"]) == 1
    assert [key for key in world.store.keys(f"{machine.tags['run']}/attempts/")] == [
        f"{machine.tags['run']}/attempts/1.json"
    ]


@pytest.mark.full
def test_four_trials_run_on_four_machines_at_once(world, origin, tmp_path):
    """None of them ends before all have begun: what they take together is what one takes."""
    hold = tmp_path / "hold"
    hold.touch()
    world.by_tag["four"] = {"FAKE_HOLD": str(hold)}
    folder = fake_training.copy(origin, tmp_path / "four", runner__kind="ec2", runner__tags={"trials": "four"})
    small_repo.git(folder, "commit", "-q", "-a", "-m", "on EC2")
    command = world.start(folder, "python", "scripts/sweep.py", "lr=0.52,0.53,0.54,0.55", "--jobs", "4")
    world.wait(lambda: len([each for each in world.of("trials", "four") if each.ended is None]) == 4)
    hold.unlink()
    assert command.ended() == 0, command.text
    world.settled()
    machines = world.of("trials", "four")
    assert len(machines) == 4
    alone = max(each.ended - each.started for each in machines)
    together = max(each.ended for each in machines) - min(each.started for each in machines)
    print(f"minutes of the hypervisor's clock: the longest machine {alone:.0f}, all four {together:.0f}")


SECRETS = {
    name: f"planted-{name}-5ecr3t"
    for name in ("environment", "aws-file", "dot-env", "config-local", "ignored", "key", "pem", "untracked")
}


@pytest.mark.full
def test_no_planted_secret_leaves_the_computer(world, origin, tmp_path):
    folder = fake_training.copy(origin, tmp_path / "clone", lr=0.6, runner__kind="ec2", runner__tags={"of": "secrets"})
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    swift = world.swift.environment()
    key, secret = swift.pop("AWS_ACCESS_KEY_ID"), swift.pop("AWS_SECRET_ACCESS_KEY")
    (home / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        f"[other]\naws_access_key_id = other\naws_secret_access_key = {SECRETS['aws-file']}\n"
    )
    (folder / ".env").write_text(f"TOKEN={SECRETS['dot-env']}\n")
    with open(folder / ".dvc/config.local", "a") as file:
        file.write(f"['remote \"other\"']\n    url = s3://other\n    secret_access_key = {SECRETS['config-local']}\n")
    (folder / ".gitignore").write_text((folder / ".gitignore").read_text() + "notes.txt\n")
    (folder / "notes.txt").write_text(SECRETS["ignored"])
    (folder / "untracked.py").write_text(f"password = {SECRETS['untracked']!r}\n")
    (folder / "id_ed25519").write_text(SECRETS["key"])
    pem = f"-----BEGIN PRIVATE KEY-----\n{SECRETS['pem']}\n-----END PRIVATE KEY-----\n"
    (folder / "src/server.txt").write_text(pem)
    small_repo.git(folder, "add", "-f", "id_ed25519", "src/server.txt")  # by a slip
    small_repo.git(folder, "commit", "-q", "-a", "-m", "oh")

    command = world.start(
        folder,
        "dvc",
        "repro",
        "-s",
        "train",
        HOME=str(home),
        AWS_CONFIG_FILE=str(home / ".aws/config"),
        AWS_SHARED_CREDENTIALS_FILE=str(home / ".aws/credentials"),
        AWS_PROFILE="default",
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        SOME_API_KEY=SECRETS["environment"],
        WANDB_API_KEY=SECRETS["environment"],
    )
    assert command.ended() == 0, command.text
    world.settled()
    (machine,) = world.of("of", "secrets")

    places = {"what was printed here": command.text.encode(), "the console": machine.console.encode()}
    places |= {f"s3://{name}": content for name, content in everything_in(world)}
    launches = [call.given for call in world.aws.calls if call.action == "RunInstances"]
    places |= {f"launch {n}": json.dumps(given).encode() for n, given in enumerate(launches)}
    places |= {f"user-data {n}": base64.b64decode(given["UserData"]) for n, given in enumerate(launches)}
    for log in machine.folder.rglob("log"):
        places[str(log)] = log.read_bytes() if log.is_file() else b""
    assert any(name.endswith(".tar.gz/src/train.py") for name in places), "the archives were not opened"
    assert any("/log/0" in name for name in places)
    for name, value in (SECRETS | {"swift": secret}).items():
        found = [place for place, content in places.items() if value.encode() in content]
        assert not found, f"the secret from {name} is in {found}"
    assert "looks like" in command.text or "look like secrets" in command.text, "a person hears what was left out"


def everything_in(world):
    """Name and content of every object in the bucket, and of every file in its archives."""
    client = world.swift.client()
    for key in world.swift.objects(BUCKET):
        content = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        yield key, content
        if key.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
                for member in tar:
                    if member.isfile():
                        yield f"{key}/{member.name}", tar.extractfile(member).read()
