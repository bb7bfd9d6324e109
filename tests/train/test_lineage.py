"""What run ids and models say of the environment: the lock of a training, and that of the GPU where one trains."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import folder_deps
import pytest
import small_repo
from moto.ec2.models.instance_types import INSTANCE_TYPES

from plantdoc.core import cost, hashing, identity, locks, params, stage_deps
from plantdoc.core.errors import UserError
from plantdoc.ec2 import instance_types
from plantdoc.registry import provenance
from plantdoc.train import lineage, train_checks, train_params
from plantdoc.worker import inputs

NVIDIA_SMI = """#!/bin/sh
test "$*" = "--query-gpu=name --format=csv,noheader" && echo "NVIDIA A10G"
"""


@pytest.fixture
def repository(root, tmp_path, monkeypatch) -> Path:
    """What a record is made of, without data; the current directory."""
    for name in ("dvc.yaml", "params.yaml", *root.glob("requirements*.txt"), "src"):
        source = root / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / source.relative_to(root))
    (tmp_path / "data/tfrecords").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(gpu: bool = False) -> dict:
    return lineage.made_from("train", params.load(train_params.Params), None, gpu)


def run_id() -> str:
    return identity.run_id(record())


def model_of(section: str) -> Path:
    """The module with the model of a section of params.yaml, or of all of them."""
    (path,) = Path("src/plantdoc").rglob(f"{section}_params.py")
    return path


def change(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")


def append(lock: str) -> None:
    with open(lock, "a") as file:
        file.write("another-package==1.0 --hash=sha256:00\n")


@pytest.mark.parametrize("lock", ["requirements-dev.txt", "requirements.txt", "requirements-beam.txt", locks.GPU])
def test_a_newer_linter_server_or_beam_leaves_the_run_id(repository, lock):
    before = hashing.of_value(record())
    append(lock)
    assert hashing.of_value(record()) == before


@pytest.mark.parametrize(("lock", "gpu"), [(locks.TRAIN, False), (locks.TRAIN, True), (locks.GPU, True)])
def test_another_lock_of_the_training_is_another_run(repository, lock, gpu):
    before = hashing.of_value(record(gpu))
    append(lock)
    assert hashing.of_value(record(gpu)) != before


@pytest.mark.parametrize("module", ["fetch", "augment", "evaluate", "deploy", "serve", "runner", "all"])
def test_another_key_of_what_does_not_train_leaves_the_run_id(repository, module):
    before = hashing.of_value(record())
    change(model_of(module))
    if module != "all":
        text = Path("params.yaml").read_text()
        Path("params.yaml").write_text(re.sub(rf"(?m)^{module}:.*$", r"\g<0>\n  added: 1", text))
    assert hashing.of_value(record()) == before


@pytest.mark.parametrize("module", ["train", "model"])
def test_another_key_of_the_training_is_another_run(repository, module):
    before = hashing.of_value(record())
    change(model_of(module))
    assert hashing.of_value(record()) != before


def test_code_is_part_of_the_run_id_where_train_lists_its_room_and_nowhere_else(repository):
    """A file of each room and each stage's script, by the deps that the real dvc.yaml has."""
    settings = params.load(train_params.Params)
    files = {script.as_posix(): script for script in Path("src").glob("*.py")}
    files |= {"/".join(path.parts[:3]): path for path in Path("src/plantdoc").glob("*/**/*.py")}
    before, found = lineage.made_from("train", settings, None, False), set()
    for dep, path in files.items():
        content = path.read_bytes()
        change(path)
        if lineage.made_from("train", settings, None, False) != before:
            found.add(dep)
        path.write_bytes(content)
    assert found == set(stage_deps.code(stage_deps.of("train"))) and len(files) > 2 * len(found)


def test_a_model_of_a_gpu_names_the_lock_of_the_gpu(repository):
    expected = {lock: hashing.of_file(lock) for lock in ("requirements-train.txt", "requirements-gpu.txt")}
    assert record(gpu=True)["environment"] == expected
    assert record()["environment"] == {"requirements-train.txt": expected["requirements-train.txt"]}


@pytest.fixture
def rooms(tmp_path, monkeypatch) -> Path:
    """A repository whose train stage depends on a folder of code; the current directory."""
    monkeypatch.chdir(folder_deps.make(tmp_path))
    return tmp_path


def test_the_params_in_a_record_are_those_that_the_train_stage_tracks(root):
    tracked = params.read(root / "dvc.yaml")["stages"]["train"]["params"]
    assert list(lineage.PARAMS) == list(dict.fromkeys(key.partition(".")[0] for key in tracked))  # model has model.size


@pytest.mark.parametrize("name", ["src/train.py", "src/room/feed.py", "src/room/deep/mosaic.py", "src/room/new.py"])
def test_code_in_a_folder_that_train_lists_is_part_of_the_run_id(rooms, name):
    before = run_id()
    folder_deps.write(rooms / name, "changed = True\n")
    small_repo.git(rooms, "add", name)
    assert run_id() != before


def test_the_params_and_data_of_train_are_part_of_the_run_id(rooms):
    ids = {run_id()}
    small_repo.set_params(rooms, lr=0.2)
    ids.add(run_id())
    folder_deps.write(rooms / "data/tfrecords/train-00000.tfrecord", "other records")
    ids.add(run_id())
    assert len(ids) == 3


def test_what_train_does_not_read_leaves_the_run_id(rooms):
    before = run_id()
    folder_deps.write(rooms / "src/serving/app.py", "PORT = 9000\n")
    folder_deps.write(rooms / "src/serving/untracked.py", "")
    folder_deps.write(rooms / "docs/new.md", "# A new page\n")
    small_repo.set_params(rooms, runner__max_hours=3.0, fetch__limit=7, evaluate__pictures=9)
    folder_deps.commit(rooms, "nothing of the training")
    assert run_id() == before


def test_caches_and_editors_files_leave_the_run_id_in_a_clone_and_on_a_machine(rooms):
    before = run_id()
    for folder in ("src/room", "data/tfrecords"):
        folder_deps.leave_ignored(rooms / folder)
    assert run_id() == before
    shutil.rmtree(rooms / ".git")  # a training machine has the files alone
    assert run_id() == before


def test_a_deleted_file_of_a_folder_is_no_part_of_it(rooms):
    (rooms / "src/room/feed.py").unlink()
    deleted = run_id()
    small_repo.git(rooms, "rm", "-q", "src/room/feed.py")
    assert run_id() == deleted


@pytest.mark.parametrize("name", ["scratch.py", "deep/notes.txt", "ignored.log"])
def test_a_file_that_git_does_not_track_in_a_folder_of_code_is_refused(rooms, name):
    folder_deps.write(rooms / "src/room" / name, "")
    with pytest.raises(UserError, match=rf"^src/room/{name}: not tracked by git.*no clone.*`git add`"):
        record()
    small_repo.git(rooms, "add", "-f", f"src/room/{name}")
    assert record()


def test_code_is_what_lies_below_src():
    listed = ["src/train.py", "src/room", "data/tfrecords", "infra/container/requirements.txt", "srcs/x.py"]
    assert stage_deps.code(listed) == listed[:2] and stage_deps.data(listed) == listed[2:]


def test_dvc_leaves_out_the_files_that_hashes_leave_out(root):
    lines = (root / ".dvcignore").read_text().splitlines()
    assert tuple(line.lstrip("\\") for line in lines if not line.startswith("# ")) == hashing.IGNORED


class Revision:
    """A revision that has the files of a folder."""

    def read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).is_file() else None


def test_old_and_new_records_are_checked_against_their_locks(repository):
    old = {"environment": hashing.of_file("requirements.txt")}
    both = [("same", "requirements-train.txt"), ("same", "requirements-gpu.txt")]
    assert list(provenance.compare_environment(old, Revision())) == [("same", "requirements.txt")]
    assert list(provenance.compare_environment(record(gpu=True), Revision())) == both
    new = record(gpu=True)
    append("requirements.txt")
    append(locks.GPU)
    for made_from, expected in ((old, ["note"]), (new, ["same", "note"])):
        assert [verdict for verdict, _ in provenance.compare_environment(made_from, Revision())] == expected
    *_, (_, about) = provenance.compare_environment(new, Revision())
    assert about.startswith("requirements-gpu.txt is another than the model was trained with")


@pytest.fixture
def seen(monkeypatch):
    """A TensorFlow that lists the GPUs it is given; the real one starts in seconds, and finds none here."""

    def see(*gpus: str) -> None:
        config = SimpleNamespace(list_physical_devices={"GPU": list(gpus)}.__getitem__)
        monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))

    return see


def test_a_gpu_that_the_locks_libraries_drive_trains(repository, seen):
    seen()
    assert lineage.gpu_trains() is False
    seen("GPU:0")
    Path(locks.GPU).write_text(f"pytest=={pytest.__version__}\n")  # a library that is installed
    assert lineage.gpu_trains() is True


def test_a_gpu_by_other_libraries_is_refused(repository, seen):
    seen("GPU:0")
    Path(locks.GPU).write_text("pytest==0.1\n")
    with pytest.raises(UserError, match=r"pytest is .*, not 0\.1.*make setup GPU=1.*CUDA_VISIBLE_DEVICES=-1"):
        lineage.gpu_trains()


def test_the_name_of_a_type_tells_whether_it_has_an_nvidia_gpu():
    def listed(about: dict) -> bool:
        return "NVIDIA" in {gpu.get("Manufacturer") for gpu in (about.get("GpuInfo") or {}).get("Gpus", ())}

    wrong = [name for name, about in INSTANCE_TYPES.items() if instance_types.has_gpu(name) != listed(about)]
    assert wrong == [] and sum(map(listed, INSTANCE_TYPES.values())) > 50
    assert instance_types.has_gpu("p6-b200.48xlarge") and not instance_types.has_gpu("g4ad.xlarge")


def test_types_with_and_without_a_gpu_are_not_mixed():
    assert instance_types.have_gpu(["g5.xlarge", "g4dn.xlarge"]) and not instance_types.have_gpu(
        ["c7i.xlarge", "t3.large"]
    )
    with pytest.raises(
        UserError, match=r"with a GPU \(g5\.xlarge\) and without one \(c7i\.xlarge, t3\.large\).*keep one"
    ):
        instance_types.have_gpu(["c7i.xlarge", "g5.xlarge", "t3.large"])


def test_a_run_on_mixed_types_is_refused_before_aws_is_asked(repository, root, monkeypatch):
    small_repo.set_params(repository, runner__instance_types=["g5.xlarge", "c7i.xlarge"])
    monkeypatch.syspath_prepend(root / "scripts")
    with pytest.raises(UserError, match=r"mixes types with a GPU \(g5\.xlarge\) and without one \(c7i\.xlarge\)"):
        importlib.import_module("ec2").run(None, None)  # no account to ask


def test_a_machine_without_a_gpu_refuses_a_run_for_one(repository, monkeypatch):
    monkeypatch.setattr(cost, "gpus", list)
    here, there = record(gpu=False), record(gpu=True)
    assert inputs.check(SimpleNamespace(run_id=identity.run_id(here)), None) == here
    with pytest.raises(UserError, match=r"is for machines with an NVIDIA GPU, and this one has none, or no driver"):
        inputs.check(SimpleNamespace(run_id=identity.run_id(there)), None)
    with pytest.raises(UserError, match=r"its code, data, params, locks or weights are not those"):
        inputs.check(SimpleNamespace(run_id="0123456789abcdef"), None)


def test_a_training_whose_tensorflow_does_not_see_the_machines_gpu_stops(monkeypatch):
    train_checks.refuse_other_run("a", gpu=False)  # a computer of one's own has no run to train
    monkeypatch.setenv("PLANTDOC_RUN_ID", "a")
    train_checks.refuse_other_run("a", gpu=True)
    with pytest.raises(UserError, match=r"started for run a and would train b: TensorFlow sees no GPU"):
        train_checks.refuse_other_run("b", gpu=False)


def test_gpus_are_those_of_the_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cost.gpus() == []
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert cost.gpus() == ["NVIDIA A10G"]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found'; exit 6\n")
    assert cost.gpus() == []


def test_the_processor_is_named_without_linux_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("PATH", str(tmp_path))
    without = cost.machine()
    assert without.split(",")[0] and "cores" in without
    (tmp_path / "sysctl").write_text('#!/bin/sh\ntest "$*" = "-n machdep.cpu.brand_string" && echo "Apple M3"\n')
    (tmp_path / "sysctl").chmod(0o755)
    assert cost.machine().startswith("Apple M3, ")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 7R32\n")
    assert cost.machine().startswith("AMD EPYC 7R32, ")
