"""Other people's set-ups: what a git hook, another user's checkout, a full disk or a pipe brings along.

M1, M5 (make), M14 and M18 are in tests/repository/test_makefile.py, M4 and M8 in tests/detector/test_tf_environment.py.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import fake_repo
import pytest
import small_repo
from import_graph import ROOT

from plantdoc.core import entry, foreign_packages, stage
from plantdoc.core.errors import UserError
from plantdoc.doctor import checks, checks_shell
from plantdoc.registry import provenance
from plantdoc.repo import commands
from plantdoc.repo.revisions import find
from plantdoc.report import dvc_files
from plantdoc.sweep import snapshot, trial
from plantdoc.train import train_checks


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A small DVC repository as the current folder, with one commit and a change that is not committed."""
    folder = tmp_path / "here"
    (folder / ".dvc/tmp").mkdir(parents=True)
    for name, text in {".dvc/config": "", ".dvc/.gitignore": "/tmp\n/config.local\n", "note.txt": "one\n"}.items():
        (folder / name).write_text(text)
    small_repo.git(folder, "init", "-q", "-b", "main")
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", "one")
    (folder / "note.txt").write_text("two\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def dropped(monkeypatch) -> None:
    """What `entry.start` changes in this process is as it was afterwards."""
    for name in entry.GIT_LOCAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(entry, "_caller", None)
    monkeypatch.setattr(entry, "dropped", [])


def script(name: str):
    """A script as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def state(folder: Path) -> str:
    return small_repo.git(folder, "status", "--porcelain", "--branch") + small_repo.git(folder, "rev-parse", "HEAD")


def test_the_repository_of_a_git_hook_is_left_alone(here, tmp_path, monkeypatch, dropped):
    """M2: GIT_DIR and its like, which git sets for hooks, reach no git command of ours."""
    hooked = tmp_path / "hooked"
    small_repo.git(tmp_path, "clone", "-q", str(here), str(hooked))
    (hooked / "note.txt").write_text("mine\n")
    before = state(hooked)
    monkeypatch.setenv("GIT_DIR", str(hooked / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(hooked))
    monkeypatch.setenv("GIT_INDEX_FILE", str(hooked / ".git/index"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Stays")
    entry.start(str(here / "scripts/any.py"))
    assert entry.dropped == ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] and os.environ["GIT_AUTHOR_NAME"] == "Stays"
    with snapshot.take(here).copy(tmp_path / "copy") as copy:
        assert (copy / "note.txt").read_text() == "two\n"
    assert state(hooked) == before


def test_all_that_git_calls_its_own_is_dropped():
    named = set(small_repo.git(ROOT, "rev-parse", "--local-env-vars").split())
    assert named - set(entry.GIT_LOCAL) == {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}
    makefile = (ROOT / "Makefile").read_text()
    listed = re.search(r"addprefix GIT_,(.*?)\)", makefile.replace("\\\n\t", ""))[1].split()
    assert tuple(f"GIT_{name}" for name in listed) == entry.GIT_LOCAL


@pytest.mark.full
def test_sweep_in_a_hook_of_a_worktree_leaves_the_repository_alone(tmp_path):
    """M2: as tried, with everything that git sets for a post-commit hook."""
    repository, tree = fake_repo.finished(tmp_path / "repository"), tmp_path / "tree"
    small_repo.git(repository, "worktree", "add", "-q", "-b", "other", str(tree))
    shutil.copytree(repository / ".dvc/cache", tree / ".dvc/cache")
    hook = repository / ".git/hooks/post-commit"
    command = f"{sys.executable} scripts/sweep.py lr=0.3"
    hook.write_text(f"#!/bin/sh\nenv | grep ^GIT_ > {tmp_path}/seen\n{command} > {tmp_path}/sweep.log 2>&1\n")
    hook.chmod(0o755)
    (tree / "README.md").write_text("mine, not committed\n")
    head = small_repo.git(repository, "rev-parse", "HEAD")
    small_repo.run(tree, "git", "commit", "-q", "--allow-empty", "-m", "hooked")
    assert "GIT_DIR=" in (tmp_path / "seen").read_text()
    assert "1 trial" in (log := (tmp_path / "sweep.log").read_text()) or "| done " in log, log
    assert small_repo.git(tree, "branch", "--show-current") == "other\n"
    assert small_repo.git(repository, "branch", "--show-current") == "main\n"
    assert small_repo.git(repository, "rev-parse", "HEAD") == head
    assert small_repo.git(tree, "status", "--porcelain", "README.md") == " M README.md\n"  # not staged


@pytest.fixture
def run_stage(tmp_path):
    """Run the body of a `main` as src/paint.py of a tree of its own; returns the finished process."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "src/plantdoc", tree / "src/plantdoc", ignore=shutil.ignore_patterns("__pycache__"))

    def run(body: str, *before: str, pass_fds=(), **environment: str) -> subprocess.CompletedProcess:
        text = "import os, signal, sys\nfrom pathlib import Path\nfrom plantdoc.core import entry, stage\ndef main():\n"
        text += textwrap.indent(textwrap.dedent(body), "    ")
        (tree / "src/paint.py").write_text(f"{text}\nstage.run(main)\n")
        return subprocess.run(
            [*before, sys.executable, str(tree / "src/paint.py")],
            cwd=tree,
            pass_fds=pass_fds,
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )

    return run


INTERRUPT = "signal.signal(signal.SIGINT, signal.default_int_handler)\nos.kill(os.getpid(), signal.SIGINT)"


def test_an_interrupted_stage_promises_nothing_that_dvc_does_not_keep(run_stage):
    """M3: DVC deletes the outputs before the stage starts."""
    by_hand = run_stage(INTERRUPT)
    assert (by_hand.returncode, by_hand.stderr) == (130, "paint: interrupted\n")
    by_dvc = run_stage(INTERRUPT, DVC_STAGE="paint")
    assert by_dvc.returncode == 130 and "DVC had removed this stage's earlier outputs" in by_dvc.stderr
    assert stage.RESTORE in by_dvc.stderr and "lost" not in by_dvc.stderr
    full = run_stage("Path('/dev/full').write_text('more than fits')", DVC_STAGE="paint")
    assert full.returncode == 1 and "the disk is full" in full.stderr and stage.RESTORE in full.stderr


HELD = """
from plantdoc.core import stage
def main():
    import os, time
    open({hold!r} + ".reached", "w").close()
    while os.path.exists({hold!r}):
        time.sleep(0.02)
{body}
    write("results/fetch/report.json", {{"limit": params["fetch"]["limit"]}})
stage.run(main)
"""


@pytest.mark.full
def test_what_the_message_of_an_interrupted_stage_names_brings_all_outputs_back(tmp_path):
    """M3: those of the last commit, and a report of one's own that no commit has."""
    hold, reached = tmp_path / "hold", tmp_path / "hold.reached"
    folder = fake_repo.make(tmp_path / "repository")
    body = textwrap.indent(fake_repo.COMMON + fake_repo.STAGES["fetch"], "    ")
    (folder / "src/fetch.py").write_text(HELD.format(hold=str(hold), body=body))
    small_repo.run(folder, "dvc", "repro")
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", "results")

    def files() -> dict[str, bytes]:
        found = [path for top in ("data/raw", "results/fetch") for path in (folder / top).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    def interrupted(limit: int) -> str:
        small_repo.set_params(folder, fetch__limit=limit)
        reached.unlink()  # the run before was not held
        hold.touch()
        process = subprocess.Popen(
            ["dvc", "repro", "fetch"],
            cwd=folder,
            env=small_repo.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            start_new_session=True,
        )
        while not reached.exists():
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.02)
        assert not (folder / "data/raw").exists()
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=300)[0]
        hold.unlink()
        assert not (folder / "results/fetch/report.json").exists()
        return said

    committed = files()
    said = interrupted(7)
    assert stage.RESTORE in said and "was lost" not in said
    small_repo.run(folder, "sh", "-c", stage.RESTORE.strip("`"))
    assert files() == committed
    small_repo.set_params(folder, fetch__limit=8)
    small_repo.run(folder, "dvc", "repro", "fetch")
    own = files()
    assert own != committed
    interrupted(9)
    small_repo.set_params(folder, fetch__limit=8)
    assert "is cached - skipping run" in small_repo.run(folder, "dvc", "repro", "fetch").stdout
    assert files() == own


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A folder with a numpy of another project, which says that it was imported."""
    folder = tmp_path / "ros"
    (folder / "numpy").mkdir(parents=True)
    (folder / "numpy/__init__.py").write_text("print('a numpy of another project')\n__version__ = '2.0.2'\n")
    (folder / "data").mkdir()
    (folder / "unrelated.py").touch()
    return folder


def test_a_stage_refuses_packages_of_another_project(run_stage, foreign):
    """M5: with plain `dvc repro`; make leaves the variable out."""
    done = run_stage("import numpy", PYTHONPATH=str(foreign))
    assert done.returncode == 1 and "a numpy of another" not in done.stdout
    assert done.stderr.startswith(f"paint: numpy would be imported from {foreign} in place of this environment's own")
    assert "PYTHONPATH" in done.stderr
    shutil.rmtree(foreign / "numpy")
    assert run_stage("import numpy", PYTHONPATH=str(foreign)).returncode == 0


def test_doctor_compares_what_is_imported(foreign, monkeypatch):
    """M5: and not what is installed."""
    assert checks_shell.imports("repro") == f"from {sys.prefix}"
    monkeypatch.syspath_prepend(str(foreign))
    with pytest.raises(UserError, match=rf"numpy would be imported from {foreign}"):
        checks_shell.imports("repro")
    assert foreign_packages.foreign() == {"numpy": str(foreign)}


def test_text_lies_on_every_disk_with_lf_and_pictures_stay_as_they_are(tmp_path):
    """M6: core.autocrlf=true, and doctor names a clone from before .gitattributes."""
    folder = tmp_path / "folder"
    folder.mkdir()
    names = [".gitattributes", "Makefile", "infra/worker/bootstrap.sh", "docs/page.png", "dvc.yaml"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "tiny.jpg").write_bytes(b"\xff\xd8 no zero byte\r\n, and both\n kinds of ends")
    small_repo.git(folder, "init", "-q")
    small_repo.git(folder, "-c", "core.autocrlf=true", "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", "all")
    small_repo.git(tmp_path, "-c", "core.autocrlf=true", "clone", "-q", "folder", "clone")
    for name in (*names, "tiny.jpg"):
        assert (tmp_path / "clone" / name).read_bytes() == (folder / name).read_bytes()
    listed = small_repo.git(ROOT, "ls-files", "--eol").splitlines()
    assert not [line for line in listed if not re.match(r"i/(lf|-text|none) +w/(lf|-text|none) ", line)]


def test_doctor_names_files_with_crlf(here):
    assert checks_shell.checkout("repro") == "can be written, and its files are as git holds them"
    (here / "note.txt").write_bytes(b"one\r\n")
    with pytest.raises(UserError, match=r"note\.txt: lines end with CRLF"):
        checks_shell.checkout("repro")


def test_a_program_goes_to_its_own_root_and_takes_paths_from_where_it_was_called(tmp_path, monkeypatch, dropped):
    """M7: also in DVC's copies of the tree, whose root is their own."""
    for root in (tmp_path / "repository", tmp_path / "repository/.dvc/tmp/exps/standalone/x"):
        for name in ("scripts/deeper", "src/.dvc"):  # a .dvc as an earlier version of a script left it there
            (root / name).mkdir(parents=True)
        (root / "dvc.yaml").touch()
        (root / "src/bundle.gz").touch()
        for caller in (root, root / "src", root / "scripts/deeper"):
            monkeypatch.chdir(caller)
            assert entry.start(os.path.relpath(root / "scripts/any.py")) == "scripts"
            assert Path.cwd() == root
            assert entry.given(os.path.relpath(root / "src/bundle.gz", caller)) == Path("src/bundle.gz")
            assert entry.given("/elsewhere/a") == Path("/elsewhere/a")
            assert entry.given_or_name("detector@v1.2.0") == "detector@v1.2.0"
        monkeypatch.chdir(root / "src")
        entry.start("../scripts/any.py")
        assert entry.given_or_name("bundle.gz") == "src/bundle.gz" and entry.given_or_name(None) is None


def test_a_program_of_another_tree_works_on_a_root_and_in_no_sub_folder(tmp_path, monkeypatch, dropped):
    """M7: else it would make files there that belong into the root."""
    other = tmp_path / "other"
    (other / "src").mkdir(parents=True)
    (other / "dvc.yaml").touch()
    monkeypatch.chdir(other)
    entry.start(str(tmp_path / "repository/scripts/report.py"))
    assert Path.cwd() == other
    monkeypatch.chdir(other / "src")
    with pytest.raises(SystemExit, match=f"report: {other}/src is inside another repository, {other}: run this there"):
        entry.start(str(tmp_path / "repository/scripts/report.py"))


def test_every_program_starts_by_going_to_its_root():
    programs = [*ROOT.glob("scripts/*.py"), *ROOT.glob("src/*.py")]
    assert len(programs) > 20
    assert not [path.name for path in programs if not re.search(r"stage\.run\(main\)|entry\.start\(", path.read_text())]


@pytest.mark.full
def test_a_report_from_a_sub_folder_is_the_report_of_the_root(tmp_path):
    """M7: as tried; it left src/.dvc and src/results behind, and was wrong."""
    folder = fake_repo.finished(tmp_path / "repository")
    small_repo.run(folder, "python", "scripts/report.py", "HEAD", "workspace")
    right = (folder / "results/report.md").read_text()
    shutil.rmtree(folder / "results/report")
    (folder / "results/report.md").unlink()
    before = sorted((folder / "src").rglob("*"))
    small_repo.run(folder / "src", "python", "../scripts/report.py", "HEAD", "workspace", PYTHONDONTWRITEBYTECODE="1")
    assert (folder / "results/report.md").read_text() == right
    assert sorted((folder / "src").rglob("*")) == before


def test_a_shallow_clone_with_changes_can_be_copied(here, tmp_path, monkeypatch):
    """M9: its objects are shared, though git makes no shared clone of it."""
    small_repo.git(here, "commit", "-q", "--allow-empty", "-m", "newer")
    shallow = tmp_path / "shallow"
    small_repo.git(tmp_path, "clone", "-q", "--depth=1", f"file://{here}", str(shallow))
    (shallow / ".dvc/tmp").mkdir()
    (shallow / "note.txt").write_text("three\n")
    with snapshot.take(shallow).copy(tmp_path / "copy") as copy:
        assert (copy / "note.txt").read_text() == "three\n"
        assert small_repo.git(copy, "rev-parse", "HEAD") == small_repo.git(shallow, "rev-parse", "HEAD")
        small_repo.git(copy, "commit", "-q", "--allow-empty", "-m", "trial")
        small_repo.git(copy, "update-ref", "refs/exps/ab/cd/trial", "HEAD")
        small_repo.git(shallow, "fetch", "-q", str(copy), "refs/exps/ab/cd/trial:refs/exps/ab/cd/trial")
    assert small_repo.git(shallow, "log", "--format=%s", "refs/exps/ab/cd/trial") == "trial\nnewer\n"
    monkeypatch.chdir(shallow)
    assert "git fetch --unshallow" in checks.git("repro")


@pytest.mark.full
def test_a_sweep_in_a_shallow_clone_with_changes_works(tmp_path):
    """M9: as tried; every trial failed."""
    repository, shallow = fake_repo.finished(tmp_path / "repository"), tmp_path / "shallow"
    small_repo.git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(shallow))
    shutil.copytree(repository / ".dvc/cache", shallow / ".dvc/cache")
    (shallow / "README.md").write_text("changed\n")
    done = small_repo.run(shallow, "python", "scripts/sweep.py", "lr=0.3")
    assert "| done " in done.stdout
    assert small_repo.git(shallow, "for-each-ref", "refs/exps").count("lr-0.3") == 1


def test_what_git_says_of_another_users_repository_is_passed_on(here, monkeypatch, capsys):
    """M10: the remedy is safe.directory, and not a first commit."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refusing = (lambda: script("sweep").refuse_unready(here), train_checks.refuse_without_commit, provenance.root)
    for ask in (*refusing, lambda: checks.git("repro"), lambda: find("main"), commands.repository):
        with pytest.raises(UserError, match=r"dubious ownership(.|\n)*git config --global --add safe\.directory"):
            ask()
    monkeypatch.setattr(sys, "argv", ["repro.py"])
    assert script("repro").main() == 1
    assert re.match(r"repro: .*dubious ownership(.|\n)*safe\.directory", capsys.readouterr().err)


@pytest.fixture
def nobody(monkeypatch) -> None:
    """Git and its environment know neither name nor address."""
    for who in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{who}_{what}", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def test_without_a_name_and_address_nothing_starts_that_ends_in_a_commit(here, nobody, monkeypatch):
    """M11: git's own way out, a name made up from the machine's, is not DVC's."""
    for ask in (lambda: script("sweep").refuse_unready(here), lambda: checks.git("repro")):
        with pytest.raises(UserError, match=r'git config --global user\.name "Your Name"` and `.* user\.email'):
            ask()
    subprocess.run(["git", "config", "user.name", "Me"], check=True)
    with pytest.raises(UserError, match=r"each experiment is a commit: `git config --global user\.email"):
        commands.identity()
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "me@example.org")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "me@example.org")
    commands.identity()


def test_the_reason_of_a_failed_trial_is_not_dvcs_footer():
    lines = ["train: the loss is not finite", "ERROR: failed to reproduce 'train': failed to run", ""]
    lines.append("Having any troubles? Hit us up at https://dvc.org/support, we are always happy to help!")
    assert trial.reason("\n".join(lines)) == lines[0]
    assert trial.reason("\n \n") == "dvc ended without a word"


@pytest.fixture
def as_owner() -> list[str]:
    """What makes a command heed the rights of files: root passes over them unless it lacks two capabilities."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (package util-linux) is not there, and root may write everywhere without it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_a_checkout_that_cannot_be_written_is_told_in_one_line(run_stage, as_owner, tmp_path):
    """M12: whatever a stage or script wants to write there."""
    locked = tmp_path / "tree/data"
    locked.mkdir()
    locked.chmod(0o555)
    try:
        for body in ("with stage.replacing('data/raw'): pass", "Path('data/report.md').write_text('')"):
            done = run_stage(body, *as_owner)
            assert done.returncode == 1 and "Traceback" not in done.stderr
            assert re.match(r"paint: data/\S+: Permission denied: .* work in a clone of your own", done.stderr)
        code = "from plantdoc.doctor import checks_shell; checks_shell.checkout('repro')"
        command = [*as_owner, sys.executable, "-c", code]
        env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, cwd=tmp_path / "tree", env=env, capture_output=True, text=True)
        assert "data cannot be written by this user: work in a clone" in done.stderr
    finally:
        locked.chmod(0o755)


@pytest.mark.slow
def test_a_remote_that_could_not_be_asked_is_not_said_to_lack_the_data(here, monkeypatch):
    """M13: AWS_PROFILE names no profile; what DVC says is passed on."""
    out = "{path: data/raw, hash: md5, md5: d41d8cd98f00b204e9800998ecf8427e.dir}"
    (here / "dvc.yaml").write_text("stages: {fetch: {cmd: fetch, outs: [data/raw]}}\n")
    (here / "dvc.lock").write_text(f"schema: '2.0'\nstages: {{fetch: {{cmd: fetch, outs: [{out}]}}}}\n")
    (here / ".dvc/config").write_text("[core]\n    remote = s\n['remote \"s\"']\n    url = s3://plants/dvc\n")
    small_repo.git(here, "add", "-A")
    small_repo.git(here, "commit", "-q", "-m", "pipeline")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(here / "note.txt"))
    (here / "note.txt").write_text("")
    monkeypatch.setenv("AWS_PROFILE", "left-the-company")
    with pytest.raises(UserError, match=r"did not come from the remote: .*profile \(left-the-company\) could not be"):
        dvc_files.files(find("HEAD", here), "data/raw", here.parent / "scratch")


def test_too_little_memory_is_a_reason(run_stage):
    """M15: the limit is looked at before TensorFlow starts, which ends the process without a word."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1_200_000_000,) * 2)\n"
    done = run_stage(f"{limit}from plantdoc.detector import tf_setup\nwith tf_setup.starting(): print('started')")
    assert done.returncode == 1 and "started" not in done.stdout
    assert "a process have 1.2 GB of memory" in done.stderr and "`ulimit -v unlimited`" in done.stderr
    done = run_stage("bytearray(1 << 60)")
    assert (done.returncode, done.stderr.partition(": free")[0]) == (1, "paint: out of memory")


@pytest.mark.slow
@pytest.mark.parametrize("body", ["print('a line\\n' * 100_000)", "print('one line')"])
def test_a_reader_that_goes_away_ends_a_program_quietly(run_stage, body):
    """M16: `make models | head -0`; in the middle of the output, and at its very end."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = run_stage(f"os.dup2({write}, 1)\n{body}", pass_fds=[write])
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    # Another pipe that breaks is a fault.
    assert "BrokenPipeError" in run_stage("raise BrokenPipeError").stderr


def test_a_folder_without_git_is_named_before_anything_is_tried(tmp_path, monkeypatch, capsys):
    """M17: a ZIP of the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    sweep = script("sweep")
    for ask in (commands.repository, lambda: checks.git("repro"), lambda: sweep.refuse_unready(tmp_path)):
        with pytest.raises(UserError, match=r"a ZIP of it has no \.git\): `git clone` it, or .* `git init && git add"):
            ask()
    monkeypatch.setattr(sys, "argv", ["remote.py", "push"])
    with pytest.raises(UserError, match=r"a ZIP of it has no \.git"):
        script("remote").main()
    monkeypatch.setattr(sys, "argv", ["repro.py"])
    assert script("repro").main() == 1
    said = capsys.readouterr().err
    assert re.match(r"repro: .* is not the root of a git repository, .*`git clone` it", said) and said.count("\n") == 1
