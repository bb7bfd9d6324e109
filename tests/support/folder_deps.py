"""A repository whose train stage depends on a folder of code, with a model, and a dvc.lock as DVC writes it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import small_repo
from ruamel.yaml import YAML

from plantdoc.repo import dvc_hash

FILES = {
    "src/train.py": "from room import feed\n",
    "src/room/__init__.py": "",
    "src/room/feed.py": "BATCH = 8\n",
    "src/room/deep/mosaic.py": "PARTS = 4\n",
    "src/serving/app.py": "PORT = 8000\n",
    "requirements.txt": "one==1.0\ntwo==1.0\n",
    "requirements-train.txt": "one==1.0\n",
    "requirements-gpu.txt": "cuda==1.0\n",
    ".gitignore": "__pycache__/\n*.log\n/data/tfrecords\n/models/detector\n",
}
DEPS = ["src/train.py", "src/room", "data/tfrecords"]
IGNORED = ("__pycache__/feed.cpython-312.pyc", ".feed.py.swp", "feed.py~", ".#feed.py", "#feed.py#", ".DS_Store",
           "deep/.idea/workspace.xml")  # fmt: skip


def make(folder: Path, listed: list[str] = DEPS) -> Path:
    """The repository in `folder`, committed; `listed` are the deps of train."""
    for name, text in FILES.items():
        write(folder / name, text)
    shutil.copy(small_repo.ROOT / "params.yaml", folder)
    shutil.copy(small_repo.ROOT / ".dvcignore", folder)
    write(folder / "data/tfrecords/train-00000.tfrecord", "records")
    list_deps(folder, listed)
    small_repo.git(folder, "init", "-q", "-b", "main")
    commit(folder, "code")
    return folder


def list_deps(folder: Path, listed: list[str]) -> None:
    """Have dvc.yaml list these deps of train."""
    stage = {"cmd": "python src/train.py", "deps": listed, "params": ["seed", "lr", "model", "train"]}
    with open(folder / "dvc.yaml", "w", encoding="utf-8") as file:
        YAML().dump({"stages": {"train": stage | {"outs": ["models/detector"]}}}, file)


def train(folder: Path, made_from: dict, weights: str = "weights") -> None:
    """A model with this record of its inputs, and a dvc.lock of it and of the files as they are now."""
    write(folder / "models/detector/detector.weights.h5", weights)
    write(folder / "models/detector/config.json", json.dumps({"made_from": made_from}))
    listed = YAML(typ="safe").load(folder / "dvc.yaml")["stages"]["train"]["deps"]
    entry = {
        "cmd": "python src/train.py",
        "deps": entries(folder, listed),
        "outs": entries(folder, ["models/detector"]),
    }
    data = {"cmd": "python src/augment.py", "outs": entries(folder, ["data/tfrecords"])}
    with open(folder / "dvc.lock", "w", encoding="utf-8") as file:
        YAML().dump({"schema": "2.0", "stages": {"augment": data, "train": entry}}, file)


def entries(folder: Path, paths: list[str]) -> list[dict[str, str]]:
    """As in dvc.lock. That these are the hashes of DVC itself is tested in test_trace.py."""
    return [{"path": path, "hash": "md5", "md5": dvc_hash.of(folder / path)} for path in paths]


def leave_ignored(folder: Path) -> None:
    """What Python, editors and file managers leave in a folder, other on each machine."""
    for name in IGNORED:
        write(folder / name, hashlib.sha256(str(folder).encode()).hexdigest())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def commit(folder: Path, message: str) -> str:
    """Commit what git does not ignore; returns the commit's id."""
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", message)
    return small_repo.git(folder, "rev-parse", "HEAD").strip()
