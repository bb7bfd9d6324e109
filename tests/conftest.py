"""What all tests share: tiers by cost, and the real pictures where they are."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import repo_templates

ROOT = Path(__file__).resolve().parent.parent
SLOW = 2.0  # seconds; what takes longer carries a mark of `COSTS`
# Mark: seconds that a test is guessed to take where the mark does not say, for the order of files.
COSTS = {"slow": 4, "full": 8}
LARGE = 100  # by how much --large multiplies counts


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--large", action="store_true", help=f"multiply counts of tests marked `large` by {LARGE}")
    parser.addoption("--times", type=int, default=1, help="multiply counts of tests marked `large` by this")


def pytest_configure(config: pytest.Config) -> None:
    # Shells start background jobs with SIGINT ignored, and the processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if repo_templates.STORE not in os.environ:  # neither a worker nor one of the two runs of `make test-all`
        os.environ[repo_templates.STORE] = tempfile.mkdtemp(prefix="plantdoc-templates-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(repo_templates.STORE), ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the costly files first, so that no worker is left with one at the end; each file's tests stay together."""
    cost = Counter()
    for item in items:
        marked = (mark.args[0] if mark.args else COSTS[mark.name] for mark in item.iter_markers() if mark.name in COSTS)
        cost[item.path] += next(marked, 0.2)
    items.sort(key=lambda item: (-cost[item.path], item.path))


def pytest_terminal_summary(terminalreporter) -> None:
    """Name the tests that take long and do not say so by a mark. Machines differ, so this fails nothing.

    The first user of a shared fixture or template pays for it.
    """
    seconds, marks = Counter(), {}
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid] += report.duration
            marks[report.nodeid] = report.keywords
    unmarked = [(s, name) for name, s in seconds.items() if s > SLOW and not COSTS.keys() & marks[name].keys()]
    if unmarked:
        terminalreporter.section(f"over {SLOW:.0f} s without a mark (slow, full)")
        for duration, name in sorted(unmarked, reverse=True):
            terminalreporter.write_line(f"{duration:6.1f} s  {name}")


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> int:
    """The factor for counts in tests marked `large`: 1, that of --times, or 100 with --large."""
    return LARGE if request.config.getoption("large") else request.config.getoption("times")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def plantdoc_folder() -> Path:
    """A folder with real PlantDoc pictures in the official layout; never part of the repository."""
    folder = ROOT.parent / "shared" / "plantdoc"
    if not (folder / "TRAIN").is_dir():
        pytest.skip(
            "real PlantDoc pictures are not at ../shared/plantdoc: clone "
            "https://github.com/pratikkayal/PlantDoc-Object-Detection-Dataset to there"
        )
    return folder


@pytest.fixture(scope="session")
def tf():
    """TensorFlow set up as in the stages, once: its threads cannot be changed after its first op.

    A stage that a test runs in this process then sets its seed alone. KerasCV's layers draw from the global generator,
    which must be given where determinism is asked for.
    """
    from plantdoc.detector import tf_setup

    with contextlib.suppress(RuntimeError):  # a test before has used TensorFlow without this fixture
        tf_setup.configure(threads=2, seed=1)
    import keras
    import tensorflow

    keras.utils.set_random_seed(1)
    tensorflow.config.experimental.enable_op_determinism()
    tensorflow.random.set_global_generator(tensorflow.random.Generator.from_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_setup, "configure", lambda threads, seed: keras.utils.set_random_seed(seed))
        yield tensorflow


@pytest.fixture(scope="session")
def keras_cv(tf):
    """KerasCV, to hold ours against."""
    import keras_cv

    return keras_cv


@pytest.fixture
def in_this_process(monkeypatch):
    """plantdoc.core.parallel without processes, which take a second to start; test_parallel.py is about them."""
    from plantdoc.core import parallel

    def imap(function, items, workers):
        yield from map(function, items)

    monkeypatch.setattr(parallel, "imap", imap)


@pytest.fixture(scope="module")
def bench(root):
    """A benchmark's module by name."""
    sys.path.insert(0, str(root / "benchmarks"))
    yield importlib.import_module
    sys.path.remove(str(root / "benchmarks"))
