"""Pushing to and pulling from a real S3 server and a folder, and what happens when they refuse or are damaged."""

from __future__ import annotations

import filecmp
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import fake_repo
import fake_swift
import pytest
import script_runner
import small_repo
from import_graph import ROOT

from plantdoc.core.errors import UserError
from plantdoc.remote import dvc_remote, remote_config

pytest_plugins = ["ec2_fixtures"]
PUSH, PULL = ("python", "scripts/remote.py", "push"), ("python", "scripts/remote.py", "pull", "train", "deploy")
MODELS = ("models/detector/detector.weights.h5", "models/detector/config.json", "models/bundle/model.tar.gz")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The repository after `dvc repro`, never changed."""
    return fake_repo.finished(tmp_path_factory.mktemp("origin") / "repository")


@pytest.fixture
def origin(finished, tmp_path) -> Path:
    """A copy of it with its cache, to push from."""
    return Path(shutil.copytree(finished, tmp_path / "origin", symlinks=True))


def clone(origin: Path, to: Path, url: str | None = None) -> Path:
    """A fresh clone with git's files only; with `url`, its remote is there."""
    small_repo.git(origin.parent, "clone", "-q", str(origin), str(to))
    return point(to, url) if url else to


def point(repository: Path, url: str) -> Path:
    (repository / ".dvc/config.local").write_text(f"['remote \"storage\"']\n    url = {url}\n")
    return repository


def bucket(swift, request, public: bool = False) -> str:
    """A new bucket, named after the test."""
    return swift.make_bucket(f"b{abs(hash(request.node.nodeid)) % 10**9}", public)


def same(one: Path, other: Path, *paths: str) -> bool:
    return all(filecmp.cmp(one / path, other / path, shallow=False) for path in paths)


@pytest.mark.slow
def test_a_fresh_clone_pulls_from_s3_what_another_pushed_byte_for_byte(swift, origin, tmp_path, request):
    url = f"s3://{bucket(swift, request)}/dvc"
    script_runner.run(origin, "dvc", "remote", "modify", "--local", "storage", "url", url)
    script_runner.run(origin, *PUSH, **swift.environment())
    fresh = clone(origin, tmp_path / "fresh", url)
    script_runner.run(fresh, *PULL, **swift.environment())
    assert same(origin, fresh, *MODELS)
    assert not (fresh / "data/raw").exists()
    assert small_repo.git(fresh, "status", "--porcelain") == ""


@pytest.mark.full
def test_run_cache_is_shared_through_s3(swift, origin, tmp_path, request):
    url = f"s3://{bucket(swift, request)}/dvc"
    point(origin, url)
    small_repo.set_params(origin, augment__size=96)
    script_runner.run(origin, "dvc", "repro", "augment")
    script_runner.run(origin, *PUSH, "--run-cache", **swift.environment())
    fresh = clone(origin, tmp_path / "fresh", url)  # knows nothing of the other size: it was not committed
    small_repo.run(fresh, "dvc", "pull", "fetch", **swift.environment())
    small_repo.run(fresh, "dvc", "fetch", "--run-cache", **swift.environment())
    small_repo.set_params(fresh, augment__size=96)
    script_runner.run(
        fresh, "dvc", "repro", "--pull", "augment", **swift.environment(), TINY_LOG=str(tmp_path / "stages")
    )
    assert not (tmp_path / "stages").exists()
    assert same(origin, fresh, "data/tfrecords/train-00000.tfrecord", "data/tfrecords/meta.json")


@pytest.mark.full
def test_a_push_of_an_unchanged_repository_moves_nothing(swift, origin, request):
    name = bucket(swift, request)
    point(origin, f"s3://{name}/dvc")
    script_runner.run(origin, *PUSH, **swift.environment())
    objects, requests = swift.objects(name), len(swift.requests())
    done = script_runner.run(origin, *PUSH, **swift.environment())
    assert "Everything is up to date" in done.stdout
    asked = swift.requests()[requests:]
    assert {each.method for each in asked} <= {"HEAD", "GET"}
    assert all(each.path.endswith(".dir") for each in asked if each.sent and "/dvc/" in each.path)  # lists of files
    assert sum(each.received for each in asked) == 0
    assert swift.objects(name) == objects


@pytest.mark.full
def test_the_push_of_a_second_trial_moves_its_own_model_and_results_alone(swift, origin, tmp_path, request):
    name = bucket(swift, request)
    point(origin, f"s3://{name}/dvc")
    script_runner.run(origin, *PUSH, **swift.environment())
    before, requests = swift.objects(name), len(swift.requests())
    first = shutil.copytree(origin, tmp_path / "first", symlinks=True)
    script_runner.run(origin, "dvc", "exp", "run", "-S", "lr=0.2")
    script_runner.run(origin, *PUSH, **swift.environment())
    new = {key: size for key, size in swift.objects(name).items() if key not in before}

    outputs = ("data", "models", "results/fetch", "results/evaluate/pictures", "results/evaluate/predictions.json")
    files = [path for out in outputs for path in [origin / out, *(origin / out).rglob("*")] if path.is_file()]
    changed = {path.relative_to(origin).as_posix(): path.stat().st_size for path in files}
    changed = {path: size for path, size in changed.items() if not same(first, origin, path)}
    assert sorted(changed) == [
        "models/bundle/model.tar.gz",
        "models/detector/config.json",
        "models/detector/detector.weights.h5",
        "results/evaluate/pictures/random-1.jpg",
        "results/evaluate/predictions.json",
    ]
    lists = {key: size for key, size in new.items() if key.endswith(".dir")}  # of the three that are folders
    assert len(lists) == 3
    assert sorted(size for key, size in new.items() if key not in lists) == sorted(changed.values())
    assert sum(each.received for each in swift.requests()[requests:]) == sum(new.values())


@pytest.mark.slow
def test_damaged_and_lost_objects_are_noticed_named_and_can_be_sent_again(swift, origin, tmp_path, request):
    name = bucket(swift, request)
    url = f"s3://{name}/dvc"
    point(origin, url)
    others = set(swift.files())
    script_runner.run(origin, *PUSH, **swift.environment())
    keys = {path: key_of(origin / path) for path in MODELS}
    weights, config, archive = MODELS
    swift.client().put_object(Bucket=name, Key=keys[weights], Body=b"other bytes of another model")
    ours = [path for path in swift.files() if path not in others]
    on_disk = next(path for path in ours if path.read_bytes() == (origin / config).read_bytes())
    on_disk.write_bytes(b"?" * on_disk.stat().st_size)
    swift.client().delete_object(Bucket=name, Key=keys[archive])

    fresh = clone(origin, tmp_path / "fresh", url)
    failed = script_runner.run(fresh, *PULL, check=False, **swift.environment())
    said = failed.stdout.splitlines()[-1]
    assert failed.returncode == 1
    assert f"{weights} is corrupted" in said and f"{archive} is missing" in said and f"{config} is" in said
    assert "`python scripts/remote.py repair` in a clone that has it" in said
    assert not any((fresh / path).exists() for path in MODELS)

    assert "up to date" in script_runner.run(origin, *PUSH, **swift.environment()).stdout  # DVC sees no cause to
    done = script_runner.run(origin, "python", "scripts/remote.py", "repair", **swift.environment())
    assert f"{archive} was missing: sent again" in done.stdout
    assert f"{weights} was corrupted: sent again" in done.stdout
    script_runner.run(fresh, *PULL, **swift.environment())
    assert same(origin, fresh, *MODELS)


def key_of(path: Path) -> str:
    md5 = small_repo.run(path.parent, "md5sum", path.name).stdout.split()[0]
    return f"dvc/files/md5/{md5[:2]}/{md5[2:]}"


@pytest.mark.full
def test_what_was_never_pushed_is_asked_for_where_it_was_made(swift, origin, tmp_path, request):
    fresh = clone(origin, tmp_path / "fresh", f"s3://{bucket(swift, request)}/dvc")
    failed = script_runner.run(fresh, *PULL, check=False, **swift.environment())
    assert failed.returncode == 1
    assert "was it pushed? Run `make push` in the clone that made it" in failed.stdout


class Expired(http.server.BaseHTTPRequestHandler):
    """Answers as S3 does to a session token that was good once; no server to be had here lets one expire."""

    BODY = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(400)
        self.send_header("Content-Length", str(len(self.BODY)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.BODY)

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def expired():
    """The address of a server where every token has expired."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Expired)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def pushed(swift, finished, tmp_path_factory) -> Path:
    """A repository whose remote has it all: buckets `kept` (private) and `shown` (public, but empty)."""
    repository = Path(shutil.copytree(finished, tmp_path_factory.mktemp("pushed") / "repository", symlinks=True))
    swift.make_bucket("shown", public=True)
    point(repository, f"s3://{swift.make_bucket('kept')}/dvc")
    script_runner.run(repository, *PUSH, **swift.environment())
    return repository


# Bucket, user, what else is wrong with the environment, and what is said.
OWNER, GUEST = fake_swift.OWNER, fake_swift.GUEST
REFUSALS = {
    "wrong secret": ("kept", OWNER, {"AWS_SECRET_ACCESS_KEY": "not-the-s3cret"}, "check AWS_SECRET_ACCESS_KEY"),
    "no bucket": ("nowhere", OWNER, {}, "there is no such bucket: check the url in .dvc/config, or make it with `make"),
    "no permission": ("kept", GUEST, {}, "AWS denies"),
    "no permission to write": ("shown", GUEST, {}, "AWS denies CreateMultipartUpload"),
    "expired token": ("kept", OWNER, {"AWS_SESSION_TOKEN": "s3cret"}, "have expired"),
    "dead endpoint": ("kept", OWNER, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "cannot be reached"),
}


@pytest.mark.parametrize("refusal", ["wrong secret", "no bucket"])
def test_what_s3_refuses_is_said_with_the_remedy(refusal, swift, origin, monkeypatch):
    name, user, changes, message = REFUSALS[refusal]
    for variable, value in (swift.environment(user) | changes).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(point(origin, f"s3://{name}/dvc"))
    with pytest.raises(UserError) as told, dvc_remote.opened(remote_config.default()) as storage:
        storage.try_to_write()
    assert str(told.value).startswith(f"the remote s3://{name}/dvc: ") and message in str(told.value)


@pytest.mark.full
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_push_says_why_loses_nothing_and_works_once_the_cause_is_gone(refusal, swift, pushed, expired):
    name, user, changes, message = REFUSALS[refusal]
    environment = swift.environment(user) | changes
    if refusal == "expired token":
        environment["AWS_ENDPOINT_URL_S3"] = expired
    point(pushed, f"s3://{name}/dvc")
    objects = swift.objects("kept")
    failed = script_runner.run(pushed, *PUSH, check=False, **environment)
    said = failed.stdout.splitlines()[-1]
    assert failed.returncode == 1
    assert said.startswith(f"remote: the remote s3://{name}/dvc: ") and message in said
    assert "s3cret" not in failed.stdout
    assert swift.objects("kept") == objects
    if name != "nowhere":
        script_runner.run(pushed, *PUSH, **swift.environment())


@pytest.mark.full
def test_a_pull_with_the_wrong_secret_says_so_and_the_right_one_brings_the_data(swift, pushed, tmp_path):
    fresh = clone(pushed, tmp_path / "fresh", "s3://kept/dvc")
    failed = script_runner.run(fresh, *PULL, check=False, **swift.environment() | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert failed.returncode == 1
    assert "check AWS_SECRET_ACCESS_KEY" in failed.stdout.splitlines()[-1]
    script_runner.run(fresh, *PULL, **swift.environment())
    assert same(pushed, fresh, *MODELS)


@pytest.mark.full
def test_an_endpoint_that_goes_away_in_the_middle_of_a_push_loses_nothing(swift, origin, tmp_path, request):
    name = bucket(swift, request)
    point(origin, f"s3://{name}/dvc")
    many = origin / "data/many"
    many.mkdir()
    for number in range(120):
        (many / f"{number}.txt").write_text(f"{number}\n" * 2000)
    script_runner.run(origin, "dvc", "add", "data/many")
    log = tmp_path / "push.log"
    with open(log, "w") as file:
        environment = small_repo.environment(**swift.environment())
        push = subprocess.Popen(PUSH, cwd=origin, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        before = len(swift.requests())
        while not any(each.method == "PUT" for each in swift.requests()[before:]):
            assert push.poll() is None, log.read_text()
        swift.stop()
        assert push.wait(300) == 1
    finally:
        push.kill()
        push.wait()
        if not swift.processes:
            swift.start()
    said = log.read_text().splitlines()[-1]
    assert said.startswith(f"remote: the remote s3://{name}/dvc: ") and "cannot be reached" in said
    half = swift.objects(name)
    script_runner.run(origin, *PUSH, **swift.environment())
    whole = swift.objects(name)
    assert 0 < len(half) < len(whole)
    assert half.items() <= whole.items()
    fresh = clone(origin, tmp_path / "fresh", f"s3://{name}/dvc")
    shutil.copy(origin / "data/many.dvc", fresh / "data/many.dvc")
    small_repo.run(fresh, "dvc", "pull", **swift.environment())
    assert same(origin, fresh, *MODELS, *(f"data/many/{number}.txt" for number in range(120)))


@pytest.mark.full
def test_a_file_of_over_100_mb_goes_through_s3_in_parts(swift, origin, tmp_path, request):
    name = bucket(swift, request)
    point(origin, f"s3://{name}/dvc")
    block = bytes(range(256)) * 4096
    with open(origin / "data/big", "wb") as file:
        for number in range(101):
            file.write(block[number:] + block[:number])
    script_runner.run(origin, "dvc", "add", "data/big")
    script_runner.run(origin, *PUSH, "data/big", **swift.environment())
    head = swift.client().head_object(Bucket=name, Key=key_of(origin / "data/big"))
    assert head["ETag"].strip('"').endswith("-3")  # S3's mark of an object in three parts
    fresh = clone(origin, tmp_path / "fresh", f"s3://{name}/dvc")
    shutil.copy(origin / "data/big.dvc", fresh / "data/big.dvc")
    small_repo.run(fresh, "dvc", "pull", "data/big", **swift.environment())
    assert same(origin, fresh, "data/big")


@pytest.mark.full
def test_credentials_region_and_endpoint_may_come_from_a_profile(swift, origin, tmp_path, request):
    point(origin, f"s3://{bucket(swift, request)}/dvc")
    profile = f"""
[profile plants]
region = us-east-1
endpoint_url = {swift.url}
aws_access_key_id = {swift.key}
aws_secret_access_key = {swift.secret}
"""
    (tmp_path / "config").write_text(profile)
    settings = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    with_profile = {"AWS_PROFILE": "plants", "AWS_CONFIG_FILE": str(tmp_path / "config")}
    command = ["env", *(f"--unset={name}" for name in settings), *PUSH]
    done = small_repo.run(origin, *command, **swift.environment() | with_profile)
    assert "files pushed" in done.stdout
    checked = small_repo.run(origin, *command[:-1], "repair", **swift.environment() | with_profile)
    assert "has all of it, with the right bytes" in checked.stdout
    wrong = small_repo.run(
        origin, *command, check=False, **swift.environment() | with_profile | {"AWS_PROFILE": "none"}
    )
    assert wrong.returncode == 1
    assert "aws configure list-profiles" in wrong.stdout


@pytest.mark.slow
def test_without_aws_the_remote_is_a_folder_beside_the_clone(origin, tmp_path):
    script_runner.run(origin, *PUSH)
    assert (tmp_path / "plant-disease-storage/files/md5").is_dir()
    fresh = clone(origin, tmp_path / "fresh")
    script_runner.run(fresh, *PULL)
    assert same(origin, fresh, *MODELS)


@pytest.mark.full
def test_what_comes_from_the_remote_is_hashed_again_in_a_folder_as_well(origin, tmp_path):
    script_runner.run(origin, *PUSH)
    damaged = tmp_path / "plant-disease-storage" / key_of(origin / MODELS[0]).removeprefix("dvc/")
    damaged.chmod(0o644)
    damaged.write_bytes(b"?" * damaged.stat().st_size)
    fresh = clone(origin, tmp_path / "fresh")
    failed = script_runner.run(fresh, *PULL, check=False)
    assert failed.returncode == 1
    assert f"{MODELS[0]} is corrupted" in failed.stdout
    script_runner.run(origin, "python", "scripts/remote.py", "repair")
    script_runner.run(fresh, *PULL)
    assert same(origin, fresh, *MODELS)


@pytest.mark.full
def test_a_folder_that_is_not_there_or_is_none_is_said_with_the_remedy(origin, tmp_path):
    fresh = clone(origin, tmp_path / "fresh")
    failed = script_runner.run(fresh, *PULL, check=False)
    assert failed.returncode == 1
    assert "not there: `make push` in the clone that has the data makes it" in failed.stdout
    (tmp_path / "plant-disease-storage").write_text("a file")
    failed = script_runner.run(origin, *PUSH, check=False)
    assert failed.returncode == 1
    assert "choose another folder with `dvc remote modify --local storage url FOLDER`" in failed.stdout


@pytest.mark.full
def test_experiment_in_a_copy_is_pushed_from_the_main_repository(origin, tmp_path):
    script_runner.run(origin, "dvc", "exp", "run", "--temp", "-S", "lr=0.2", "-n", "other")
    script_runner.run(origin, "dvc", "exp", "apply", "other")
    script_runner.run(origin, *PUSH)
    stored = tmp_path / "plant-disease-storage" / key_of(origin / MODELS[0]).removeprefix("dvc/")
    assert filecmp.cmp(stored, origin / MODELS[0], shallow=False)


@pytest.mark.slow
def test_a_push_that_is_interrupted_ends_in_one_line(origin, swift):
    point(origin, "s3://plants/dvc")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = swift.environment() | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        push = subprocess.Popen(
            PUSH,
            cwd=origin,
            env=small_repo.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            silent.settimeout(120)
            connection, _ = silent.accept()
            os.killpg(push.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
            said, _ = push.communicate(timeout=300)
            connection.close()
        finally:
            push.kill()
            push.wait()
    assert push.returncode == 130
    assert "remote: interrupted" in said and "Traceback" not in said


@pytest.mark.full(45)
def test_predictions_of_a_pulled_detector_are_those_of_the_one_that_was_pushed(swift, tmp_path, request):
    """The real stages: a minute of training, then evaluate again where nothing but git and the remote are."""
    origin = small_repo.finished(tmp_path / "origin")
    url = f"s3://{bucket(swift, request)}/dvc"
    point(origin, url)
    script_runner.run(origin, *PUSH, **swift.environment())
    fresh = clone(origin, tmp_path / "fresh", url)
    script_runner.run(fresh, *PULL, **swift.environment())
    traced = script_runner.run(fresh, "python", "scripts/trace.py", "models/detector", "--check")
    assert small_repo.git(fresh, "rev-parse", "--short", "HEAD").strip() in traced.stdout
    small_repo.run(fresh, "dvc", "pull", "fetch", **swift.environment())
    script_runner.run(fresh, "dvc", "repro", "--force", "--single-item", "evaluate")
    assert same(origin, fresh, "dvc.lock", "results/evaluate/predictions.json", "results/evaluate/metrics.json")


def test_the_program_starts_without_a_heavy_library():
    code = "import sys; sys.path[:0] = ['scripts', 'src']; import remote; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "pandas", "dvc", "boto3"} & set(loaded.split())
