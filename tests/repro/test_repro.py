"""`make repro`: results at hand are not computed again, and the end says what came out and what to do."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_repo
import psutil
import pytest
import small_repo

from plantdoc.core import cost
from plantdoc.repo import revisions
from plantdoc.repro import comparison, run_cache, summary

CPU = "intel"  # what the other machine's is called, see tiny.COMMON


def repro(folder: Path, *arguments: str, cpu: str = "", code: int = 0) -> tuple[str, list[str]]:
    """Run scripts/repro.py in `folder`; returns what it printed and the stages that ran."""
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    command = [sys.executable, "scripts/repro.py", *arguments]
    done = small_repo.run(folder, *command, check=False, TINY_LOG=str(log), TINY_CPU=cpu)
    assert done.returncode == code, done.stdout
    return done.stdout, [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def summary_lines(output: str) -> dict[str, str]:
    """The summary's lines by their headings, each as one line; of `next` the first."""
    found = {}
    for line in output.rpartition("\n\n")[2].splitlines():
        heading, words = line[: summary.INDENT].strip(), line[summary.INDENT :]
        if heading:
            found[heading] = words
        elif "next" not in found:
            found[list(found)[-1]] += f" {words}"
    return found


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """Committed results."""
    return fake_repo.finished(tmp_path_factory.mktemp("origin") / "repository")


@pytest.fixture
def repository(origin, tmp_path) -> Path:
    """A copy of it, cache included."""
    return Path(shutil.copytree(origin, tmp_path / "repository", symlinks=True))


@pytest.fixture(scope="module")
def elsewhere(origin, tmp_path_factory) -> tuple[Path, str]:
    """A clone on another kind of CPU after its first `make repro`, and what that printed."""
    clone = tmp_path_factory.mktemp("elsewhere") / "clone"
    small_repo.git(clone.parent, "clone", "-q", str(origin), str(clone))
    output, stages = repro(clone, cpu=CPU)
    assert stages == ["fetch", "augment", "train", "evaluate", "deploy"]
    return clone, output


@pytest.fixture
def clone(elsewhere, tmp_path) -> Path:
    """A copy of that clone."""
    return Path(shutil.copytree(elsewhere[0], tmp_path / "clone", symlinks=True))


@pytest.fixture(scope="module")
def shared(elsewhere, tmp_path_factory) -> Path:
    """A copy for tests that leave its cache and models as they find them."""
    return Path(shutil.copytree(elsewhere[0], tmp_path_factory.mktemp("shared") / "clone", symlinks=True))


@pytest.mark.slow
def test_the_first_run_says_what_it_does_and_how_long_it_takes(elsewhere):
    first = " ".join(elsewhere[1].partition("Running stage")[0].split())
    assert first.startswith("Running 5 stages: fetch, augment, train, evaluate, deploy.")
    assert "They took 0.0 minutes on test." in first


def test_another_cpu_is_told_with_both_scores_and_what_to_do(elsewhere):
    clone, output = elsewhere
    commit = small_repo.git(clone, "rev-parse", "--short=7", "HEAD").strip()
    lines = summary_lines(output)
    machine = lines["this machine"]
    assert f"equal to {commit}: fetch, augment; not equal, from the same code and params: train, evaluate, deploy" in (
        machine
    )
    old, new = (
        json.loads(text)["map50"]
        for text in (
            small_repo.git(clone, "show", "HEAD:results/evaluate/metrics.json"),
            (clone / "results/evaluate/metrics.json").read_text(),
        )
    )
    assert old != new
    assert f"{old:.3f} ({old - 0.04:.3f}–{old + 0.04:.3f}) on test, {new:.3f}" in machine
    assert machine.endswith("here: they agree within their 95 % intervals")
    assert lines["test mAP@50"].startswith(f"{new:.3f} ")
    assert lines["changed"].startswith("dvc.lock and 2 files in results/")
    assert "\x1b" not in output


@pytest.mark.slow
def test_dropped_results_come_back_without_a_training_and_can_be_kept(elsewhere, clone):
    """The commands that the summary names, as they are printed."""
    ours = (clone / "dvc.lock").read_bytes()
    lines = summary_lines(elsewhere[1])
    small_repo.run(clone, "sh", "-c", lines["drop"].partition("   ")[0])
    assert small_repo.git(clone, "status", "--porcelain") == ""
    assert (clone / "dvc.lock").read_bytes() != ours
    shutil.rmtree(clone / "models/detector")  # as `dvc checkout` does, which finds the committed one nowhere

    output, stages = repro(clone, cpu=CPU)
    assert stages == []
    assert "train: the outputs that dvc.lock names are not in the cache here" in output
    assert (clone / "dvc.lock").read_bytes() == ours

    small_repo.run(clone, *shlex.split(lines["keep"]))
    assert small_repo.git(clone, "status", "--porcelain") == ""
    assert small_repo.git(clone, "show", "HEAD:dvc.lock").encode() == ours


@pytest.mark.full
def test_a_switch_of_branches_costs_no_training(clone):
    ours = (clone / "dvc.lock").read_bytes()
    small_repo.git(clone, "stash", "-q")
    small_repo.git(clone, "switch", "-q", "-c", "other")
    small_repo.set_params(clone, augment__size=96)
    output, stages = repro(clone, "augment", cpu=CPU)
    assert stages == ["augment"]
    assert "train" in summary_lines(output)["out of date"]
    small_repo.git(clone, "commit", "-q", "-a", "-m", "smaller")
    small_repo.git(clone, "switch", "-q", "main")
    _, stages = repro(clone, cpu=CPU)  # the workspace holds the other branch's records
    assert stages == []
    assert (clone / "dvc.lock").read_bytes() == ours


def test_a_mistake_in_a_later_stages_params_stops_it_before_any_stage_runs(repository):
    small_repo.set_params(repository, lr=0.3, deploy__examples=-1)
    said = "repro: params.yaml: deploy.examples = -1: input should be greater than or equal to 0\n"
    assert repro(repository, code=1) == (said, [])


@pytest.mark.full
def test_a_failed_run_ends_with_its_code_and_without_a_summary(repository):
    small_repo.set_params(repository, lr=2000)
    output, stages = repro(repository, code=255)
    assert stages == ["train"]
    assert "the loss is not finite" in output and "test mAP@50" not in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_a_signal_ends_dvc_and_no_summary_follows(number, repository, tmp_path):
    """SIGINT reaches the whole group, as from a terminal; SIGTERM this process alone, as from `kill`."""
    hold, log = tmp_path / "hold", tmp_path / "log"
    hold.mkdir()
    (hold / "0.3").touch()
    small_repo.set_params(repository, lr=0.3)
    environment = small_repo.environment(TINY_HOLD=str(hold), TINY_LOG=str(log))
    command = [sys.executable, "scripts/repro.py"]
    with subprocess.Popen(
        command,
        cwd=repository,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while not (log.exists() and log.read_text().startswith("train")):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.02)
        (dvc,) = psutil.Process(process.pid).children()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        code = process.wait(30)
        (hold / "0.3").unlink()
        output = process.stdout.read()
    assert code == (255 if number == signal.SIGINT else 128 + signal.SIGTERM)
    assert not dvc.is_running()
    assert "test mAP@50" not in output and "repro.py" not in output


class TestRunCache:
    """When dvc.lock is left as it is, and when not."""

    @pytest.fixture
    def dropped(self, shared) -> Path:
        """The clone with the committed dvc.lock and code, and its own models and cache."""
        small_repo.git(shared, "checkout", "-q", "--", ".")
        return shared

    def test_replaces_the_stage_and_nothing_else(self, dropped):
        theirs = revisions.find("workspace", dropped).lock
        assert run_cache.restore(revisions.find("workspace", dropped)) == ["train"]
        ours = revisions.find("workspace", dropped).lock
        assert [name for name in ours if ours[name] != theirs[name]] == ["train"]
        assert list(ours) == list(theirs)
        assert not list(dropped.glob(".dvc.lock*"))

    def test_asks_for_the_inputs_of_the_lock_whatever_the_workspace_holds(self, dropped):
        """Before train, `dvc repro` brings the records that dvc.lock names, and takes them for unchanged."""
        (dropped / "data/tfrecords/meta.json").write_text("of another branch")
        assert run_cache.restore(revisions.find("workspace", dropped)) == ["train"]

    def test_leaves_outputs_that_are_in_the_cache(self, origin):
        before = (origin / "dvc.lock").read_bytes()
        assert run_cache.restore(revisions.find("workspace", origin)) == []
        assert (origin / "dvc.lock").read_bytes() == before

    def test_leaves_a_stage_with_other_inputs(self, dropped):
        def replace(name: str, old: str, new: str) -> None:
            text = (dropped / name).read_text()
            assert old in text
            (dropped / name).write_text(text.replace(old, new))

        changes = (
            lambda: replace("params.yaml", "lr: 0.1 ", "lr: 0.3 "),
            lambda: replace("src/train.py", "loss", "lost"),
            lambda: (dropped / "src/train.py").unlink(),
            lambda: replace("dvc.yaml", "cmd: python src/train.py", "cmd: python -O src/train.py"),
        )
        for change in changes:
            change()
            assert run_cache.restore(revisions.find("workspace", dropped)) == []
            small_repo.git(dropped, "checkout", "-q", "--", ".")
        assert run_cache.restore(revisions.find("workspace", dropped)) == ["train"]

    def test_leaves_a_stage_whose_earlier_run_is_not_whole(self, dropped):
        weights = run_cache.dvc_hash.of(dropped / "models/detector/detector.weights.h5")
        kept = dropped / ".dvc/cache/files/md5" / weights[:2] / weights[2:]
        moved = kept.rename(kept.with_suffix(".moved"))
        assert run_cache.restore(revisions.find("workspace", dropped)) == []
        moved.rename(kept)

    def test_leaves_outputs_that_are_in_the_workspace_alone(self, origin, dropped):
        ours = (dropped / "models/detector").rename(dropped / "models/ours")
        shutil.copytree(origin / "models/detector", dropped / "models/detector")
        assert run_cache.restore(revisions.find("workspace", dropped)) == []
        shutil.rmtree(dropped / "models/detector")
        ours.rename(dropped / "models/detector")

    @pytest.mark.full
    def test_leaves_a_lock_that_another_dvc_holds(self, dropped):
        from dvc.repo import Repo

        before = (dropped / "dvc.lock").read_bytes()
        with Repo(str(dropped)) as repo, repo.lock:
            assert run_cache.restore(revisions.find("workspace", dropped)) == []
        assert (dropped / "dvc.lock").read_bytes() == before


class TestSummary:
    """Minutes, scores and changes against the last commit."""

    @pytest.fixture
    def workspace(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        for i, out in enumerate(summary.OUTPUTS.values()):
            path = Path(out) if Path(out).suffix else Path(out, "file")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(i))
        return tmp_path

    def test_is_short_where_the_results_are_the_committed_ones(self, origin):
        found = summary.lines(revisions.find("workspace", origin), {})
        assert [heading for heading, _ in found] == ["test mAP@50", "minutes", "pictures", "report", "next", "", ""]
        assert len(summary.text(found).splitlines()) == 7
        assert summary.first_run(revisions.find("workspace", origin)) == ""

    def minutes(self, before: dict | None = None) -> str:
        return summary.minutes(revisions.find(), before or {})

    def test_minutes_are_of_this_run_or_of_the_same_outputs(self, workspace, monkeypatch):
        monkeypatch.setattr(cost, "machine", lambda: "EPYC, 2 cores")
        for i, (name, out) in enumerate(summary.OUTPUTS.items()):
            cost.record(name, out, minutes=i + 0.04)
        assert self.minutes() == "fetch 0.0, augment 1.0, train 2.0, evaluate 3.0, deploy 4.0 on EPYC, 2 cores"
        before = summary.costs_of(revisions.find())
        (workspace / "models/detector/file").write_text("from the cache, of another run")
        monkeypatch.setattr(cost, "machine", lambda: "Xeon, 4 cores")
        cost.record("deploy", summary.OUTPUTS["deploy"], minutes=9.0)
        assert self.minutes(before) == (
            "fetch 0.0, augment 1.0, evaluate 3.0 on EPYC, 2 cores; deploy 9.0 on Xeon, 4 cores. "
            "Not run now: fetch, augment, evaluate. Not known for these outputs: train"
        )

    def test_minutes_that_nobody_measured(self, workspace):
        assert self.minutes() == "Not known for these outputs: fetch, augment, train, evaluate, deploy"
        cost.PATH.write_text("{")
        assert self.minutes() == "Not known for these outputs: fetch, augment, train, evaluate, deploy"

    @pytest.mark.parametrize(
        ("new", "agreed"),
        [((0.55, 0.51, 0.59), True), ((0.58, 0.50, 0.60), False), ((0.53, 0.525, 0.535), False), ((0.5,), None)],
    )
    def test_scores_agree_when_each_is_in_the_others_interval(self, new, agreed, tmp_path):
        before, after = (revisions.Revision(tmp_path / name, name, "") for name in ("before", "after"))
        for revision, values in ((before, (0.52, 0.48, 0.56)), (after, new)):
            file = revision.root / "results/evaluate/metrics.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(dict(zip(("map50", "map50_low", "map50_high"), values, strict=False))))
        assert comparison.agree(before, after) is agreed

    def test_what_a_person_changed_is_named_in_place_of_the_machine(self, repository):
        lock = repository / "dvc.lock"
        weights = revisions.find("HEAD", repository).md5("models/detector")
        lock.write_text(lock.read_text().replace(weights, "0" * 32 + ".dir").replace("lr: 0.1", "lr: 0.2"))
        found = dict(summary._otherwise(*self.against(repository)))
        assert list(found) == ["changed"]
        assert found["changed"].startswith("lr 0.1 → 0.2 since ")
        code = revisions.find("HEAD", repository).lock["train"]["deps"][-1]
        assert code["path"] == "src/train.py"
        lock.write_text(lock.read_text().replace("lr: 0.2", "lr: 0.1").replace(code["md5"], "1" * 32))
        assert summary._otherwise(*self.against(repository))[0][1].startswith("src/train.py since ")

    def test_other_pictures_in_a_folder_outside_are_no_other_machine(self, repository):
        lock = repository / "dvc.lock"
        small_repo.set_params(repository, fetch__source="../leaves")
        lock.write_text(lock.read_text().replace("source: sample", "source: ../leaves"))
        small_repo.git(repository, "commit", "-q", "-a", "-m", "own pictures")
        pictures = revisions.find("HEAD", repository).md5("data/raw")
        lock.write_text(lock.read_text().replace(pictures, "2" * 32 + ".dir"))
        assert summary._otherwise(*self.against(repository))[0][1].startswith("the pictures of ../leaves since ")

    def against(self, folder: Path) -> tuple:
        workspace = revisions.find("workspace", folder)
        return workspace, comparison.with_head(workspace)

    def test_without_a_commit_nothing_is_compared(self, tmp_path):
        assert comparison.with_head(revisions.Revision(tmp_path, "workspace", "")) is None

    def test_headings_are_bold_on_a_terminal_alone(self):
        found = [("next", "make serve " * 20), ("", "make")]
        plain, coloured = summary.text(found), summary.text(found, colour=True)
        assert coloured.startswith("\x1b[1mnext")
        assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
        assert max(map(len, plain.splitlines())) <= summary.WIDTH
