"""scripts/serve.py: what it finds to serve, what it says when it cannot, and how it ends."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import container_handler
import pytest
import running_server
import script_runner
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle
from plantdoc.registry import bundles

SERVE = running_server.ROOT / "scripts/serve.py"
ENDED_WITHIN = 10  # seconds, after which Docker kills
PIPELINE = """
stages:
  deploy:
    cmd: mkdir -p models/bundle && cp made.tar.gz models/bundle/model.tar.gz
    deps: [made.tar.gz]
    outs: [models/bundle]
"""


def make_bundle(folder: Path, note: str = "") -> Path:
    """A bundle without a model that loads; what is looked for in it is there."""
    content = folder / "content"
    shutil.rmtree(content, ignore_errors=True)
    (content / "1").mkdir(parents=True)
    (content / "1/saved_model.pb").write_bytes(b"no model")
    (content / "labels.json").write_text('["leaf"]')
    (content / "serving.json").write_text(json.dumps({"threshold": 0.5, "max_pixels": 9, "note": note}))
    bundle.pack(content, folder / "made.tar.gz")
    return folder / "made.tar.gz"


def end(*arguments: str | Path, cwd: Path = running_server.ROOT, **environment: str) -> tuple[int, str]:
    """Exit code and messages of a server that does not come up."""
    process = running_server.start(*arguments, cwd=cwd, **environment)
    said = process.communicate(timeout=running_server.PATIENCE)[1]
    assert "Traceback" not in said
    return process.returncode, said


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository with a version, pushed to its remote, and after it another bundle."""
    folder = tmp_path_factory.mktemp("repository")
    small_repo.git(folder, "init", "-q", "-b", "main")
    dvc(folder, "init", "-q")
    dvc(folder, "remote", "add", "-q", "-d", "storage", str(folder.with_name("storage")))
    (folder / "dvc.yaml").write_text(PIPELINE)
    for note in ("first", "second"):
        make_bundle(folder, note)
        dvc(folder, "repro", "-q")
        small_repo.git(folder, "add", "dvc.lock", "dvc.yaml", ".dvc/config")
        small_repo.git(folder, "commit", "-q", "-m", note)
        if note == "first":
            dvc(folder, "push", "-q")
            small_repo.git(folder, "tag", "-a", "detector@v1.0.0", "-m", "x")
            (folder / "first.tar.gz").write_bytes((folder / "made.tar.gz").read_bytes())
    return folder


def dvc(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "dvc", *words]
    subprocess.run(command, cwd=folder, env=small_repo.environment(), check=True, capture_output=True)


@pytest.fixture
def here(repository, monkeypatch) -> Path:
    shutil.rmtree(repository / ".dvc/tmp/plantdoc", ignore_errors=True)
    monkeypatch.chdir(repository)
    return repository


def test_a_version_is_brought_from_the_remote_and_kept(here):
    shutil.rmtree(here / ".dvc/cache")
    found = bundles.find("detector@v1.0.0")
    assert (found.version, found.about["note"], found.classes) == ("detector@v1.0.0", "first", ["leaf"])
    assert found.folder.is_relative_to(here / ".dvc/tmp/plantdoc")
    storage = here.with_name("storage")
    storage.rename(storage.with_name("away"))
    try:
        assert bundles.find("detector@v1.0.0") == found, "the second time nothing is needed"
    finally:
        storage.with_name("away").rename(storage)
    left = [path.name for path in (here / ".dvc/tmp/plantdoc").rglob("tmp*")]
    assert left == []


def test_the_same_bytes_have_the_same_name(here):
    assert bundles.find("first.tar.gz").version == "detector@v1.0.0"
    second = bundles.find("models/bundle")
    assert second.version.startswith("bundle-") and second.about["note"] == "second"
    assert bundles.find("models/bundle/model.tar.gz") == second
    assert bundles.find(str(second.folder)).version == second.version, "unpacked it is the same"
    assert second.source == "models/bundle/model.tar.gz"


def test_two_servers_may_unpack_at_once(tmp_path):
    kept = tmp_path / "place/kept"
    with bundles._moved_to(kept) as one:
        (one / "file").write_text("one")
        with bundles._moved_to(kept) as two:
            (two / "file").write_text("two")
    assert (kept / "file").read_text() == "two" and [*kept.parent.iterdir()] == [kept]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("detector@v9.0.0", "there is no detector@v9.0.0; there is: detector@v1.0.0"),
        ("detector@1", "detector@1 is no version"),
        ("nothing", "nothing is not there: `dvc repro deploy` makes it"),
        (".dvc", r"holds no bundle: 1/saved_model\.pb"),
        ("dvc.yaml", r"dvc\.yaml cannot be unpacked .*: it is no bundle, or a damaged one"),
    ],
)
def test_what_cannot_be_served_is_said(here, name, says):
    with pytest.raises(UserError, match=says):
        bundles.find(name)


def test_a_bundle_of_an_older_version_of_the_project_is_said(here):
    old = bundles.find("models/bundle").folder
    (old / "serving.json").unlink()
    with pytest.raises(UserError, match="older version of this project"):
        bundles.find("models/bundle")


@pytest.mark.full
def test_a_model_that_does_not_load_is_one_line(tmp_path):
    code, said = end(make_bundle(tmp_path))
    assert code == 1
    assert "does not load" in said.splitlines()[-1] and said.splitlines()[-1].startswith("serve: ")


def test_a_missing_model_is_one_line(tmp_path):
    assert end(cwd=tmp_path) == (
        1,
        "serve: models/bundle is not there: `dvc repro deploy` makes it, `make pull` brings the stored one; or name "
        "another, like MODEL=detector@v1.2.0\n",
    )


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = end("--port", str(port), cwd=tmp_path)
    assert code == 1
    assert said.startswith(f"serve: cannot listen at 127.0.0.1, port {port} (Address already in use): ")


def test_two_that_are_started_at_once_do_not_both_get_the_port():
    """The first does not answer yet: it loads its model."""
    serve = container_handler.loaded("serve", SERVE)
    with serve.bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=rf"^cannot listen at 127.0.0.1, port {port} \(Address already in use\)"):
            serve.bound("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "options", "hosts"),
    [
        ("127.0.0.1", [], {"localhost", "127.0.0.1", "[::1]"}),
        ("localhost", ["--allow-host", "Leaves.example"], {"localhost", "127.0.0.1", "[::1]", "leaves.example"}),
        ("0.0.0.0", [], set()),
        (
            "0.0.0.0",
            ["--allow-host", "leaves.example"],
            {"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "leaves.example"},
        ),
    ],
)
def test_on_loopback_it_is_asked_by_its_own_names_alone(monkeypatch, host, options, hosts):
    serve = container_handler.loaded("serve", SERVE)
    monkeypatch.setattr(sys, "argv", ["serve.py", "--host", host, "--allow-origin", "https://page.example", *options])
    arguments = serve.parse()
    with serve.bound(host, 0) as listening:
        found = serve.callers(listening, arguments)
    assert (set(found.hosts), found.origins) == (hosts, ("https://page.example",))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_well_when_told_to(tmp_path, number):
    with running_server.running("--api", "http://127.0.0.1:9", cwd=tmp_path) as server:
        assert server.client.get("/info").json()["source"] == "api"
        assert server.client.get("/examples").json() == []
        server.process.send_signal(number)
        assert server.process.wait(running_server.PATIENCE) == 0
    assert "serve: stopped\n" in server.said
    assert "Traceback" not in "".join(server.said)


@pytest.mark.slow(3)
def test_a_half_sent_photo_does_not_hold_up_its_end(tmp_path):
    with running_server.running("--api", "http://127.0.0.1:9", cwd=tmp_path) as server:
        host, port = server.url.removeprefix("http://").split(":")
        head = f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n".encode()
        with socket.create_connection((host, int(port))) as half, socket.create_connection((host, int(port))) as more:
            half.sendall(head + b"half")
            more.sendall(head + bytes(50_000))
            assert server.client.get("/info").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(ENDED_WITHIN) == 0
    assert "Traceback" not in "".join(server.said)


@pytest.mark.full
def test_an_answer_from_elsewhere_that_does_not_come_does_not_hold_up_its_end(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running_server.running("--api", f"http://127.0.0.1:{silent.getsockname()[1]}", cwd=tmp_path) as server,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(server.ask, b"\xff\xd8\xff")
        while not server.figure("plantdoc_bodies"):
            pass
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(ENDED_WITHIN) == 0
        response = asked.result()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
    assert "Traceback" not in "".join(server.said)


def test_with_a_model_elsewhere_tensorflow_is_not_loaded(tmp_path):
    with running_server.running("--api", "http://127.0.0.1:9", cwd=tmp_path) as server:
        assert server.ask(b"\xff\xd8\xff").json()["error"]["code"] == "no_answer"
        assert server.client.get("/ping").status_code == 503
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "tensorflow" not in loaded and "PIL" in loaded


@pytest.mark.parametrize(
    "wrong",
    [
        ["--port", "x"],
        ["--port", "65536"],
        ["--max-batch", "0"],
        ["a", "--api", "http://x"],
        ["--threads", "-1"],
        ["--keep-alive", "0"],
        ["--allow-host", "http://leaves.example"],
        ["--allow-host", "leaves.example:80"],
        ["--allow-origin", "*"],
        ["--allow-origin", "https://leaves.example/"],
    ],
)
def test_wrong_options_are_refused(tmp_path, wrong):
    assert script_runner.run(tmp_path, "python", str(SERVE), *wrong, check=False).returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["detector@v1;reboot"], "is not the name of a bundle or a version"),
        (["$(reboot)"], "is not the name of a bundle or a version"),
        (["--endpoint", "a b"], "is not the name of an endpoint"),
    ],
)
def test_what_is_no_name_is_said(tmp_path, words, says):
    done = script_runner.run(tmp_path, "python", str(SERVE), *words, check=False)
    assert done.returncode == 1 and says in done.stdout and len(done.stdout.splitlines()) == 1
