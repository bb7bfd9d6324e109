"""The training machine's parts: what it tells of the training, how it sends log and checkpoints, how it starts."""

from __future__ import annotations

import ast
import importlib.util
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import fake_apt
import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fake_metadata_service import Metadata

from plantdoc.core.errors import UserError
from plantdoc.ec2 import user_data
from plantdoc.train import checkpoint, progress
from plantdoc.worker import agent, instance_metadata, own_claim, pty_process, retry
from plantdoc.worker.checkpoint_sync import Epochs
from plantdoc.worker.heartbeat import Heartbeat
from plantdoc.worker.job import Interrupted, Job
from plantdoc.worker.last_line import LastLine
from plantdoc.worker.pty_process import Terminal

OUT = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")


class Memory:
    """In the place of runs.Store: `check` is called before each write, and may raise or look."""

    def __init__(self, check=lambda key: None):
        self.objects: dict[str, bytes | dict] = {}
        self.bucket, self.prefix, self.check = "memory", "runs/", check
        self.log: list[str] = []

    def put(self, key: str, body) -> None:
        self.check(key)
        self.objects[key] = body
        self.log.append(key)

    def upload(self, path: Path, key: str) -> None:
        self.put(key, path.read_bytes())

    def download(self, key: str, path: Path) -> bool:
        if key in self.objects:
            path.write_bytes(self.objects[key])
        return key in self.objects

    def has(self, key: str) -> bool:
        return key in self.objects

    def read(self, key: str) -> dict | None:
        return self.objects.get(key)


@pytest.fixture
def job(tmp_path) -> Job:
    return Job("bucket", "0123456789abcdef", 1, "dvc", "", tmp_path / "progress", beat=0.01)


ROWS = [{"box": 3.1, "class": 0.7, "lr": 0.1, "val_map": 0.0312, "val_map50": 0.0871}]


@pytest.fixture
def heart(job, tmp_path, monkeypatch) -> Heartbeat:
    """That of a machine whose training runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return Heartbeat(Memory(), job)


def test_the_status_has_what_the_training_wrote(heart, job):
    heart.send()
    status = heart.store.objects[job.key("status.json")]
    assert (status["phase"], status["epoch"], status["step"], status["val_map50"]) == ("inputs", 0, 0, None)
    written = progress.TrainingProgress(epoch=2, epochs=3, step=5, steps=12, history=ROWS, losses={"box": 2.9})
    progress.write(written)
    heart.enter("training")
    heart.send()
    status = heart.store.objects[job.key("status.json")]
    assert (status["phase"], status["epoch"], status["epochs"], status["step"]) == ("training", 2, 3, 5)
    assert status["val_map50"] == 0.0871
    read = progress.of(status)
    assert (read.history, read.losses, read.steps) == (ROWS, {"box": 2.9}, 12)


def test_only_a_step_or_an_epoch_more_is_progress(heart, job):
    def is_progress(step: int, history: list) -> bool:
        job.progress.unlink(missing_ok=True)
        progress.write(progress.TrainingProgress(step=step, history=history, message="whatever it says"))
        heart.look()
        return job.progress.exists()

    heart.look()
    assert not job.progress.exists(), "there is no file yet"
    heart.hear(b"still here\n" * 1000)
    assert not job.progress.exists(), "what it prints does not count"
    assert not is_progress(0, [])
    assert is_progress(1, [])
    assert not is_progress(1, [])
    assert is_progress(1, ROWS), "an epoch ends when it is validated, some time after its last step"
    assert not is_progress(1, ROWS) and not is_progress(0, ROWS)
    assert is_progress(2, ROWS)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_last_line_is_the_last_in_words_however_the_output_is_cut(size):
    last, output = LastLine(), "Traceback\n\x1b[31mValueError: \x1b[0mnö\n\n\r      \r".encode()
    for start in range(0, len(output), size):
        last.feed(output[start : start + size])
    assert last.text == "ValueError: nö"
    last.feed(b"x" * 100_000)
    assert len(last._open) <= 4096
    last.feed(b"the end")
    last.close()
    assert last.text.endswith("the end")


def test_no_piece_of_the_log_is_lost_or_out_of_turn_when_s3_errs(job):
    faults = itertools.cycle([False, True, True, False, True])

    def sometimes(key: str) -> None:
        if next(faults):
            raise OUT

    store = Memory(sometimes)
    heart = Heartbeat(store, job)
    for number in range(50):
        heart.say(f"line {number}")
        try:
            heart.send()
        except EndpointConnectionError:
            continue
        status = store.objects[job.key("status.json")]
        assert all(store.has(job.key(f"log/{k:06}")) for k in range(status["log"]))
    retry.insist(job, heart.send_rest)
    pieces = [key for key in sorted(store.objects) if "/log/" in key]
    assert b"".join(store.objects[key] for key in pieces) == b"".join(b"line %d\n" % n for n in range(50))
    assert store.objects[job.key("status.json")]["log"] == len(pieces)


def test_what_is_printed_too_fast_is_left_out_from_the_front_and_said(job):
    heart = Heartbeat(Memory(), job)
    for number in range(200_000):
        heart.hear(b"line %06d\n" % number)
    heart.send()
    piece = heart.store.objects[job.key("log/000000")]
    assert len(piece) < 600_000
    assert "bytes were printed too fast to be kept" in piece.decode()[:100]
    assert piece.endswith(b"line 199999\n")


def save(saved: checkpoint.Checkpoint, epoch: int, best: bool, size: int = 1000) -> None:
    progress = checkpoint.Progress(epoch, epoch if best else max(1, epoch - 1), [{}] * epoch)
    weights = [np.full(size, progress.best_epoch)]
    saved.save(progress, {"w": np.full(size, epoch)}, weights if best else None)


def best_of(body: bytes) -> str:
    with np.load(io.BytesIO(body)) as file:
        return f"best-{json.loads(str(file['progress']))['best_epoch']}.npz"


def test_whoever_finds_the_last_epoch_finds_its_best_weights(job, tmp_path):
    saved, place = checkpoint.Checkpoint(tmp_path / job.run_id), f"{job.run_id}/checkpoint/"
    store = Memory()
    epochs = Epochs(store, job, saved.folder)
    faults = itertools.cycle([False, False, True])

    def look(key: str) -> None:
        if place + "last.npz" in store.objects:
            assert place + best_of(store.objects[place + "last.npz"]) in store.objects
        if next(faults):
            raise OUT

    store.check = look
    done, pace = threading.Event(), threading.Semaphore()

    def train() -> None:
        for epoch in range(1, 200):
            if epoch % 10 == 0:
                pace.acquire()
            save(saved, epoch, best=epoch % 2 == 1)
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    while not done.is_set():
        retry.insist(job, epochs.send)
        pace.release()
    thread.join()
    retry.insist(job, epochs.send)
    assert len(store.log) > 10
    fresh = Epochs(store, job, tmp_path / "there" / job.run_id)
    assert fresh.restore() == 199
    progress, arrays = checkpoint.Checkpoint(fresh.folder).load()
    assert (progress.epochs, progress.best_epoch, arrays["w"][0]) == (199, 199, 199)
    assert checkpoint.Checkpoint(fresh.folder).best(199)[0][0] == 199


def test_restored_checkpoint_is_not_sent_again_but_a_new_epoch_is(job, tmp_path):
    saved, place = checkpoint.Checkpoint(tmp_path / job.run_id), f"{job.run_id}/checkpoint/"
    store = Memory()
    save(saved, 1, best=True)
    Epochs(store, job, saved.folder).send()
    second = Epochs(store, job, tmp_path / "there" / job.run_id)
    assert second.restore() == 1
    store.log.clear()
    second.send()
    assert store.log == []
    save(checkpoint.Checkpoint(second.folder), 2, best=False)
    second.send()
    second.send()
    assert store.log == [place + "last.npz"]


def test_without_a_checkpoint_there_is_none(job, tmp_path):
    epochs = Epochs(Memory(), job, tmp_path / job.run_id)
    assert epochs.restore() == 0
    epochs.send()
    assert checkpoint.Checkpoint(epochs.folder).load() is None


def test_a_checkpoint_without_its_best_weights_is_refused_whole(job, tmp_path):
    saved = checkpoint.Checkpoint(tmp_path / job.run_id)
    save(saved, 1, best=True)
    store = Memory()
    Epochs(store, job, saved.folder).send()
    del store.objects[f"{job.run_id}/checkpoint/best-1.npz"]
    there = Epochs(store, job, tmp_path / "there" / job.run_id)
    with pytest.raises(UserError, match=r"has last\.npz but not its best-1\.npz"):
        there.restore()
    assert not there.folder.exists()


def test_no_checkpoint_is_sent_over_that_of_a_later_attempt(job, tmp_path):
    saved, store = checkpoint.Checkpoint(tmp_path / job.run_id), Memory()
    save(saved, 1, best=True)
    store.objects[job.attempt_key(2)] = {}
    with pytest.raises(Interrupted, match="attempt 2 has taken over"):
        Epochs(store, job, saved.folder).send()
    assert store.log == []


CLAIM = {"token": "t", "time": 1.0, "code": "c", "instance": "i-ours", "deadline": 9e9}


@pytest.fixture
def ours(monkeypatch) -> None:
    """This machine is i-ours."""
    monkeypatch.setattr(instance_metadata, "instance_id", lambda: "i-ours")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ended": 2.0}, "attempt 1 was written off by its launcher"),
        ({"ended": 2.0, "stopped": "ann on laptop"}, "the run was stopped by ann on laptop"),
        ({"instance": "i-other"}, "attempt 1 belongs to the instance i-other, and this is i-ours"),
    ],
)
def test_a_machine_whose_claim_is_over_stops_at_its_next_checkpoint(job, ours, tmp_path, changes, why):
    saved, store = checkpoint.Checkpoint(tmp_path / job.run_id), Memory()
    store.objects[job.attempt_key(1)] = CLAIM
    assert own_claim.read(store, job).deadline == 9e9
    epochs = Epochs(store, job, saved.folder)
    save(saved, 1, best=True)
    epochs.send()
    sent = list(store.log)
    store.objects[job.attempt_key(1)] = CLAIM | changes
    save(saved, 2, best=True)
    for check in (epochs.send, lambda: own_claim.read(store, job)):
        with pytest.raises(Interrupted, match=why):
            check()
    assert store.log == sent, "it is written off: another may go on from the checkpoint"


def test_a_machine_goes_on_where_its_claim_does_not_name_it_yet_or_it_cannot_ask_who_it_is(job, monkeypatch):
    store = Memory()
    assert own_claim.read(store, job) is None
    store.objects[job.attempt_key(1)] = CLAIM | {"instance": None}
    monkeypatch.setattr(instance_metadata, "instance_id", lambda: "i-ours")
    assert own_claim.read(store, job).token == "t"
    store.objects[job.attempt_key(1)] = CLAIM
    monkeypatch.setattr(instance_metadata, "instance_id", lambda: None)
    assert own_claim.read(store, job).instance == "i-ours"


def run_on_terminal(program: str) -> tuple[Terminal, bytearray]:
    heard = bytearray()
    return Terminal([sys.executable, "-c", program], dict(os.environ), heard.extend), heard


def test_a_program_sees_a_terminal_and_is_heard_to_the_last_byte():
    program, heard = run_on_terminal(
        "import sys, os; print(sys.stderr.isatty(), os.get_terminal_size().columns); "
        "sys.stderr.write('x' * 200_000 + '\\nend'); sys.exit(3)"
    )
    while (code := program.wait(0.1)) is None:
        pass
    program.end()
    assert (code, bytes(heard)) == (3, b"True 120\n" + b"x" * 200_000 + b"\nend")


def test_a_program_deaf_to_sigterm_is_ended_by_force(monkeypatch):
    monkeypatch.setattr(pty_process, "_GRACE", 0.2)
    program, heard = run_on_terminal(
        "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    )
    until = time.monotonic() + 20
    while b"ready" not in heard and time.monotonic() < until:
        program.wait(0.05)
    program.end()
    assert program.process.returncode == -signal.SIGKILL


def test_a_child_that_keeps_the_terminal_open_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(pty_process, "_REST", 0.2)
    program, heard = run_on_terminal(
        "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)']).pid)"
    )
    while program.wait(0.1) is None:
        pass
    started = time.monotonic()
    program.end()
    assert time.monotonic() - started < 10
    os.kill(int(heard), signal.SIGKILL)


def refusal(status: int) -> ClientError:
    return ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def test_s3_is_asked_again_while_it_is_out_and_not_when_it_refuses(job):
    answers = iter([OUT, refusal(503), refusal(500), "there"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry.insist(job, ask) == "there"
    answers = iter([refusal(403), "there"])
    with pytest.raises(ClientError):
        retry.insist(job, ask)


def test_s3_is_given_up_after_a_time(job, monkeypatch):
    def out() -> None:
        raise OUT

    monkeypatch.setattr(retry, "_BEATS", 3)
    with pytest.raises(retry.Gone):
        retry.insist(job, out)
    repeated = retry.Repeated(job, out)
    repeated._thread.join(20)
    assert isinstance(repeated.fault, retry.Gone)


def test_a_job_stopped_while_s3_is_out_has_met_no_fault(job, monkeypatch):
    asked = threading.Event()

    def out() -> None:
        asked.set()
        raise OUT

    repeated = retry.Repeated(job, out)
    assert asked.wait(20)
    repeated.stop()
    assert repeated.fault is None


GIVEN = {
    "bucket": "bucket",
    "region": "eu-central-1",
    "run_id": "0123456789abcdef",
    "attempt": 1,
    "code": "0" * 64,
    "minutes": 60,
    "stall_minutes": 20.0,
    "dvc_prefix": "dvc",
    "weights": "",
    "gpu": True,
}


def test_user_data_is_a_script_that_bash_can_read():
    script = user_data.render(**GIVEN)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert script.startswith("#!/bin/bash\n")
    assert "\nshutdown -P +60\n" in script


def test_values_stay_values_whatever_is_in_them():
    hostile = "x'; echo harmed; @code@ $(echo harmed)\n\"`echo harmed`"
    script = user_data.render(**(GIVEN | {"dvc_prefix": hostile}))
    exports = "\n".join(script.split("exec >>")[0].split("export HOME")[1].split("\n")[1:])
    done = subprocess.run(
        ["bash", "-c", exports + 'printf %s "$PLANTDOC_DVC_PREFIX"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == hostile


def test_user_data_over_the_limit_is_refused():
    with pytest.raises(UserError, match="EC2 takes 16384"):
        user_data.render(**(GIVEN | {"dvc_prefix": "x" * 16_000}))


def objects():
    """infra/worker/objects.py as a module."""
    spec = importlib.util.spec_from_file_location("objects", user_data.FOLDER / "objects.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_objects_can_be_read_by_an_old_python_and_needs_nothing_else():
    tree = ast.parse((user_data.FOLDER / "objects.py").read_text(), feature_version=(3, 8))
    nodes = list(ast.walk(tree))
    imported = {name.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize(("name", "link"), [("../out", ""), ("/tmp/out", ""), ("in", "/etc"), ("in", "a/../../b")])
def test_nothing_is_unpacked_outside_on_a_python_without_filters(name, link):
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    assert not objects().is_safe(member)
    member.name, member.linkname = "src/train.py", "train.py"
    assert objects().is_safe(member)


def test_only_the_bucket_is_addressed_as_aws_has_it(monkeypatch):
    module = objects()
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setattr(module, "credentials", lambda: {"AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t"})
    monkeypatch.setattr(module.OPENER, "open", lambda request, timeout: request)
    monkeypatch.setenv("PLANTDOC_BUCKET", "b")
    domains = {"eu-central-1": "com", "us-gov-west-1": "com", "cn-north-1": "com.cn", "eusc-de-east-1": "eu"}
    for region, ending in domains.items():
        domain = f"amazonaws.{ending}"
        monkeypatch.setenv("PLANTDOC_REGION", region)
        request = module.s3("GET", "code/0.tar.gz")
        assert request.full_url == f"https://b.s3.{region}.{domain}/runs/code/0.tar.gz"
        assert request.get_header("X-amz-security-token") == "t"
        assert f"/{region}/s3/aws4_request, SignedHeaders=host;x-amz-" in request.get_header("Authorization")


def test_the_signature_is_that_of_botocore(monkeypatch):
    """Of the same request at the same second."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    module = objects()
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setattr(module, "credentials", lambda: {"AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t"})
    monkeypatch.setattr(module.OPENER, "open", lambda request, timeout: request)
    monkeypatch.setenv("PLANTDOC_BUCKET", "b")
    monkeypatch.setenv("PLANTDOC_REGION", "eu-central-1")
    sent = module.s3("PUT", "a/1/end.json", b"{}", {"if-none-match": "*"})
    theirs = AWSRequest("PUT", sent.full_url, {"if-none-match": "*"}, b"{}")
    stamp = sent.get_header("X-amz-date")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    S3SigV4Auth(Credentials("k", "s", "t"), "s3", "eu-central-1").add_auth(theirs)
    ours = sent.get_header("Authorization")
    assert ours.split("Signature=")[1] == theirs.headers["Authorization"].split("Signature=")[1]


@pytest.fixture
def metadata(monkeypatch):
    """The metadata service of this machine, without credentials at first, and pauses that make them come."""
    service = Metadata({}, ("key", "secret"), b"", late=1e9)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    yield service
    service.stop()


@pytest.fixture
def module(monkeypatch, metadata):
    """infra/worker/objects.py on a machine; its pauses are counted in `module.pauses`, not waited for."""
    module = objects()
    module.pauses, module.late = [], 4

    def pause(seconds: float) -> None:
        module.pauses.append(seconds)
        if len(module.pauses) == module.late:
            metadata.credentials_from = 0.0

    monkeypatch.setattr(module.time, "sleep", pause)
    monkeypatch.setenv("PLANTDOC_BUCKET", "b")
    monkeypatch.setenv("PLANTDOC_REGION", "eu-central-1")
    monkeypatch.setenv("PLANTDOC_RUN_ID", "0123456789abcdef")
    monkeypatch.setenv("PLANTDOC_ATTEMPT", "1")
    return module


def test_credentials_that_come_late_are_waited_for(module, monkeypatch):
    sent = []
    opened = module.OPENER.open

    def through(request, timeout):
        return (
            opened(request, timeout=timeout)
            if "127.0.0.1" in request.full_url
            else sent.append(request) or io.BytesIO()
        )

    monkeypatch.setattr(module.OPENER, "open", through)
    module.phase("environment")
    assert [request.full_url.rpartition("/")[2] for request in sent] == ["status.json"] and len(module.pauses) == 4


def test_credentials_that_never_come_are_said_to_be_what_is_missing(module):
    module.late = 0
    with pytest.raises(SystemExit, match=r"^status\.json: the instance's role has no credentials yet: .*404"):
        module.phase("environment")
    assert len(module.pauses) == module.TRIES - 1 and 60 < sum(module.pauses) < 180


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (412, 1), (409, 3), (503, 3)])
def test_what_s3_says_for_good_is_asked_once_and_a_conflict_again(module, metadata, monkeypatch, status, asked):
    metadata.credentials_from = 0.0
    opened, sent = module.OPENER.open, []

    def through(request, timeout):
        if "127.0.0.1" in request.full_url:
            return opened(request, timeout=timeout)
        sent.append(request)
        if len(sent) < 3:
            raise urllib.error.HTTPError(request.full_url, status, "as the test says", {}, io.BytesIO())
        return io.BytesIO()

    monkeypatch.setattr(module.OPENER, "open", through)
    if status == 404:
        with pytest.raises(SystemExit, match=r"end\.json: S3 said: HTTP Error 404"):
            module.failed("1", "why")
    else:
        module.failed("1", "why")
    assert len(sent) == asked and all(request.get_header("If-none-match") == "*" for request in sent)


def test_the_agents_own_client_waits_for_credentials_too(job, metadata, monkeypatch):
    """boto3 asks for them once, when a client is made."""
    tries = []

    def ask(job: Job):
        tries.append(job)
        if len(tries) == 3:
            metadata.credentials_from = 0.0
        return agent._store(job)

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = retry.insist(job, ask, job)
    assert len(tries) == 3
    assert store.client._request_signer._credentials.access_key == "key"


@pytest.fixture
def bare_machine(tmp_path) -> Callable[[int], subprocess.CompletedProcess]:
    """A function that runs bootstrap.sh where neither make nor venv is installed, and apt's locks are held at first."""
    home = tmp_path / "home"
    worker = home / "repository/infra/worker"
    worker.mkdir(parents=True)
    (home / "bin").mkdir()
    (worker / "bootstrap.sh").write_bytes((user_data.FOLDER / "bootstrap.sh").read_bytes())
    (home / "repository/requirements-train.txt").write_text("nothing\n")

    def program(name: str, text: str) -> None:
        (home / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (home / "bin" / name).chmod(0o755)

    programs = "bash cat chmod cut dirname find grep ln mkdir seq sha256sum sleep touch"
    for name in programs.split():
        (home / "bin" / name).symlink_to(shutil.which(name))
    program("python3", '[ "$1" != -c ]')  # no ensurepip; objects.py tells nobody
    program("nvidia-smi", "exit 9")
    program("shutdown", "exit 0")
    program("trained", "echo trained")
    program("made", "mkdir -p .venv/bin; ln -s ../../../bin/trained .venv/bin/python")

    def run(locked: int) -> subprocess.CompletedProcess:
        fake_apt.install(home, locked, f"ln -s made {home}/bin/make")
        given = {"PATH": f"{home}/bin", "PLANTDOC_STALL_MINUTES": "1000", "PLANTDOC_GPU": "", "PLANTDOC_BEAT": "0.01"}
        process = subprocess.Popen(
            ["bash", str(worker / "bootstrap.sh")],
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate(timeout=60)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its watch goes on
        return subprocess.CompletedProcess(process.args, process.returncode, printed)

    return run


def test_apts_locks_at_the_first_boot_are_waited_for(bare_machine):
    done = bare_machine(locked=fake_apt.LOCKED)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "trained"
    assert done.stdout.count("/var/lib/apt/lists/lock") == fake_apt.LOCKED > 5
    assert done.stdout.count("/var/lib/dpkg/lock-frontend") == fake_apt.LOCKED


@pytest.mark.full
def test_locks_that_stay_are_given_up_with_apts_words(bare_machine):
    done = bare_machine(locked=10**6)
    assert done.returncode == 1 and "trained" not in done.stdout
    assert "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 611" in done.stdout
