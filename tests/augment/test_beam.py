"""Augmentation in a Beam pipeline: the bytes of the local engine, wherever the workers are, and its messages.

Beam is not in requirements.txt: the runs take an environment of their own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import beam_runs
import coloured_pictures
import environments
import fake_s3
import pytest

import augment
from plantdoc.core.errors import UserError

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with Beam."""
    return environments.python(".venv-beam", "requirements.txt", "requirements-beam.txt")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "raw"
    coloured_pictures.data_set(folder, 24, 6)
    return folder


def local(raw: Path, folder: Path, engine: str = "local", **changes: float) -> dict[str, str] | str:
    """What the local engine makes, as `beam_runs.run` tells it."""
    folder.mkdir(parents=True)
    try:
        augment.build(raw, folder, coloured_pictures.settings(ROOT, **changes), 0, workers=1, engine=engine)
    except UserError as error:
        return str(error)
    return beam_runs.hashes(folder)


def by_beam(python: Path, *runs: dict, **env: str) -> list[dict[str, str] | str]:
    done = subprocess.run(
        [python, ROOT / "tests/support/beam_runs.py", json.dumps(runs, default=str)],
        capture_output=True,
        text=True,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.full
def test_shards_are_those_of_the_local_engine_wherever_parts_and_shards_end(python, raw, tmp_path):
    """One shard; several; a square in each. Parts that cut shards, shards that cut parts, and a square in each."""
    coloured_pictures.data_set(tmp_path / "no val", 5)
    cases = [
        {"raw": raw, "copies": 2},
        *({"raw": raw, "copies": 2, "shard_mb": 0.02, "part": part} for part in (1, 3, 500)),
        {"raw": raw, "copies": 1, "shard_mb": 1e-6, "part": 3},
        {"raw": tmp_path / "no val", "copies": 1, "part": 2},
    ]
    wanted = []
    for i, case in enumerate(cases):
        changes = {key: value for key, value in case.items() if key not in ("raw", "part")}
        wanted.append(local(case["raw"], tmp_path / f"local {i}", **changes))
    assert [len(files) for files in wanted] == [4, *[len(wanted[1])] * 3, 31, 2]
    assert len(wanted[1]) > 6
    assert by_beam(python, *({**case, "out": tmp_path / f"beam {i}"} for i, case in enumerate(cases))) == wanted


@pytest.mark.full
def test_processes_and_a_job_server_make_the_same(python, raw, tmp_path):
    """Beam's own processes; and a pipeline handed to a job server, as it is for Flink and Spark."""
    changes = {"copies": 2, "shard_mb": 0.02}
    with job_server(python, tmp_path) as endpoint:
        handed = f"--runner=PortableRunner --job_endpoint={endpoint} --environment_type=LOOPBACK"
        made = by_beam(
            python,
            {"raw": raw, "out": tmp_path / "processes", "part": 7, "workers": 2, **changes},
            {"raw": raw, "out": tmp_path / "handed", "part": 7, "options": handed, **changes},
        )
    assert made == [local(raw, tmp_path / "local", **changes)] * 2


@contextlib.contextmanager
def job_server(python: Path, folder: Path) -> Iterator[str]:
    """Beam's job server in Python; gives its address."""
    command = [python, "-m", "apache_beam.runners.portability.local_job_service_main", "--port_file", folder / "port"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (folder / "port").exists():
            assert server.poll() is None
        yield f"localhost:{(folder / 'port').read_text().strip()}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.full
def test_pictures_and_shards_in_s3(python, raw, tmp_path, monkeypatch):
    with fake_s3.running(monkeypatch) as client:
        client.create_bucket(Bucket="leaves")
        for path in raw.rglob("*.jpg"):
            client.upload_file(str(path), "leaves", f"raw/{path.relative_to(raw)}")
        (tmp_path / "raw").mkdir()
        for split in ("train", "val"):  # no pictures here
            shutil.copytree(raw / split, tmp_path / "raw" / split, ignore=shutil.ignore_patterns("*.jpg"))
        options = "--raw=s3://leaves/raw --work=s3://leaves/tmp"
        run = {"raw": tmp_path / "raw", "copies": 1, "shard_mb": 0.02, "part": 14, "options": options}
        (made,) = by_beam(python, {**run, "out": tmp_path / "beam"})
        assert made == local(raw, tmp_path / "local", copies=1, shard_mb=0.02)
        left = [each["Key"] for each in client.list_objects_v2(Bucket="leaves")["Contents"]]
        assert all(key.startswith("raw/") for key in left)

        client.delete_object(Bucket="leaves", Key="raw/val/leaf 0003.jpg")
        (message,) = by_beam(python, {**run, "out": tmp_path / "again", "part": 500})
        assert "val/leaf 0003.jpg cannot be read" in message
        assert "dvc repro -f fetch" in message


@pytest.mark.full
def test_a_users_mistakes_are_told_as_by_the_local_engine(python, raw, tmp_path):
    bad = tmp_path / "raw"
    shutil.copytree(raw, bad)
    path = bad / "train/leaf 0013.jpg"
    path.write_bytes(path.read_bytes()[:800])
    wanted = local(bad, tmp_path / "local")
    assert "leaf 0013.jpg cannot be read" in wanted
    processes, unknown = by_beam(
        python,
        {"raw": bad, "out": tmp_path / "processes", "workers": 2},
        {"raw": raw, "out": tmp_path / "unknown", "options": "--runner=FlinkRuner"},
    )
    assert processes == wanted
    assert "PLANTDOC_BEAM = '--runner=FlinkRuner'" in unknown and "FlinkRunner" in unknown


@pytest.mark.full
def test_the_stage_replaces_its_output_at_the_end_and_only_then(python, raw, tmp_path):
    shutil.copytree(raw, tmp_path / "data/raw")
    settings = (ROOT / "params.yaml").read_text()
    settings = settings.replace("augment_engine: local ", "augment_engine: beam ")
    settings = settings.replace("augment_workers: 0 ", "augment_workers: 1 ")
    (tmp_path / "params.yaml").write_text(settings)
    (tmp_path / "src").symlink_to(ROOT / "src")
    stage = [python, "src/augment.py"]
    done = subprocess.run(stage, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = beam_runs.hashes(tmp_path / "data/tfrecords")
    assert len(made) == 5
    (tmp_path / "data/raw/val/leaf 0002.jpg").unlink()
    done = subprocess.run(stage, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "augment: data/raw/val/leaf 0002.jpg cannot be read" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert beam_runs.hashes(tmp_path / "data/tfrecords") == made
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw", "tfrecords"]


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Beam is installed")
def test_without_beam_there_is_one_clear_message(raw, tmp_path):
    assert local(raw, tmp_path / "out", engine="beam").endswith("`make setup BEAM=1`")
