"""The report on a pull request: what it says of two revisions, its pictures, and where these are published."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import threading
from pathlib import Path

import fake_repo
import finished_experiments
import folder_deps
import pytest
import script_runner
import small_repo
from PIL import Image

from plantdoc.core import hashing
from plantdoc.core.errors import UserError
from plantdoc.repo import revisions
from plantdoc.repo.revisions import Revision
from plantdoc.report import changes, costs, figures, markdown, publishing
from plantdoc.repro import comparison

# The sample's own pictures, and predictions that are the truth with some boxes missing: the more, the lower the score.
DRAWN = {
    "fetch": """
sys.path.insert(0, "src")
from plantdoc.coco import dataset
from plantdoc.fetch.sample import generator
generator.write(Path("data/raw"), params["seed"], train=1 + params["fetch"]["limit"] % 2, test=9)
Path("data/raw/val").mkdir(parents=True, exist_ok=True)
write("data/raw/val/annotations.json", {"images": [], "annotations": [], "categories": []})
own = params["fetch"]["source"]
note = "drawn, not photographed" if own == "sample" else ""
write("data/raw/source.json", {"source": own, "note": note})
write("results/fetch/pictures/test.jpg", noise(1000, "sheet"))
write("results/fetch/report.md", b"# What came in\\n")
counts = ("pictures_dropped", "pictures_left_out", "boxes_dropped", "repairs", "duplicate_pairs", "label_conflicts")
report = {"pictures_train": 1 + params["fetch"]["limit"] % 2, "pictures_val": 0, "pictures_test": 9}
write("results/fetch/report.json", report | dict.fromkeys(counts, 0) | {"pictures_dropped": 3})
cost()
""",
    "evaluate": fake_repo.STAGES["evaluate"]
    + """
sys.path.insert(0, "src")
from plantdoc.coco import dataset
rows = [
    {"image_id": p.id, "category_id": b.category, "bbox": list(b.xywh), "score": 0.5}
    for p in dataset.load("data/raw/test").pictures for b in p.boxes
    if (p.id * 7 + b.category * 3) % 10 < quality() * 100 - 50
]
write("results/evaluate/predictions.json", rows)
""",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished repository on main, and `better`, an experiment with another lr."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_repo, "STAGES", fake_repo.STAGES | DRAWN)
        fake_repo.finished(folder)
    script_runner.run(folder, "dvc", "exp", "run", "-n", "better", "-S", "lr=0.2")
    small_repo.git(folder, "checkout", "-q", "-f", "main")
    script_runner.run(folder, "dvc", "checkout", "-q")
    return folder


@pytest.fixture(scope="module")
def other_data(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `drawn` with experiments on other data as well."""
    folder = shutil.copytree(drawn, tmp_path_factory.mktemp("other-data") / "drawn", symlinks=True)
    finished_experiments.add(folder, "more-train", lr=0.2, fetch__limit=25)
    finished_experiments.add(folder, "other", lr=0.2, seed=7, fetch__source="mine")
    script_runner.run(folder, "dvc", "checkout", "-q")
    return folder


@pytest.fixture(scope="module")
def compared(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `drawn` with the report on `better` against main."""
    folder = shutil.copytree(drawn, tmp_path_factory.mktemp("compared") / "drawn", symlinks=True)
    # With TensorFlow out of reach: the report must not need it.
    start = (
        "import sys, runpy; sys.modules['tensorflow'] = None; runpy.run_path('scripts/report.py', run_name='__main__')"
    )
    small_repo.run(folder, "python", "-c", start, "main", "better")
    return folder


@pytest.fixture
def copy(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `drawn` to change, as the current directory."""
    monkeypatch.chdir(shutil.copytree(drawn, tmp_path / "copy", symlinks=True))
    return Path.cwd()


@pytest.fixture
def copy_of_other_data(other_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `other_data` to change, as the current directory."""
    monkeypatch.chdir(shutil.copytree(other_data, tmp_path / "copy", symlinks=True))
    return Path.cwd()


def report(folder: Path, *arguments: str, **environment: str) -> str:
    """Run the script as a person does, outside of any workflow, and return what it wrote."""
    ended(folder, *arguments, code=0, **environment)
    return (folder / "results/report.md").read_text()


def ended(folder: Path, *arguments: str, code: int = 1, **environment: str) -> str:
    """What the script printed; it ended with `code` and without a traceback."""
    outside = {"GITHUB_REPOSITORY": "", "GITHUB_EVENT_PATH": "", "GITHUB_SERVER_URL": "https://github.com"}
    done = script_runner.run(folder, "python", "scripts/report.py", *arguments, check=False, **outside | environment)
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def pair(before: str = "main", after: str = "workspace") -> tuple[Revision, Revision]:
    """Two revisions of the current directory."""
    return revisions.find(before), revisions.find(after)


def rows(lines: list[str]) -> list[list[str]]:
    """The cells of a table's rows, without its head and rule."""
    found = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("|")]
    return [row for i, row in enumerate(found) if i > 1]


def origin(folder: Path) -> Path:
    """A bare repository as the remote of `folder`."""
    bare = folder.parent / "origin.git"
    small_repo.git(folder, "clone", "-q", "--bare", ".", str(bare))
    small_repo.git(folder, "remote", "add", "origin", str(bare))
    return bare


def hook(bare: Path, script: str) -> None:
    """What the remote does when something is pushed."""
    path = bare / "hooks/pre-receive"
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)


def picture(folder: Path) -> list[Path]:
    """One file to publish."""
    (folder.parent / "a.png").write_bytes(b"a picture")
    return [folder.parent / "a.png"]


def event(folder: Path, private: bool) -> str:
    """The file in which a GitHub workflow finds what started it."""
    path = folder.parent / "event.json"
    path.write_text(json.dumps({"repository": {"private": private}}))
    return str(path)


def tree(bare: Path) -> list[str]:
    return small_repo.git(bare, "ls-tree", "-r", "--name-only", "report-pictures").split()


@pytest.mark.slow
def test_an_experiment_against_main_says_what_changed_and_whether_it_is_better(compared):
    text = (compared / "results/report.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "<!-- plant-disease-report -->"
    assert lines[1] == (
        "**test mAP@50 0.486 → 0.540** (▲ +0.054 better, outside the 95 % interval 0.446–0.526 of `main`)"
    )
    assert "| `lr` | `0.1` | `0.2` |" in lines
    assert "| test mAP@50 | 0.486 (0.446–0.526) | 0.540 (0.500–0.580) | ▲ +0.054 better |" in lines
    assert "| val mAP@50 | 0.540 | 0.600 | ▲ +0.060 better |" in lines
    assert "| `apple scab` | 1 | 0.486 | 0.540 | ▲ +0.054 better | 0.100 → 0.100 |" in lines
    assert "**Data:** 1 train, 0 val, 9 test pictures; 3 dropped, 0 left out" in text
    assert "the same data as before." in text
    for name in ("learning", "precision-recall"):
        for theme in ("light", "dark"):
            assert f'"report/{name}-{theme}.png"' in text
            Image.open(compared / f"results/report/{name}-{theme}.png").verify()


def test_six_pictures_show_truth_before_and_after(compared):
    text = (compared / "results/report.md").read_text()
    assert text.count("<img") == 2 + 6
    shown = re.findall(r"^(Largest gain|Largest loss|Random): `(.*)`, F1 ([\d.]+) → ([\d.]+)$", text, re.MULTILINE)
    assert len({name for _, name, _, _ in shown}) == len(shown) == 6
    gains = [float(new) - float(old) for why, _, old, new in shown if why == "Largest gain"]
    assert len(gains) == 2 and gains[0] >= gains[1] > 0
    with Image.open(compared / "results/report/picture-1.jpg") as sheet:
        assert sheet.width > 3 * 200


@pytest.mark.full
def test_report_is_reproducible_also_from_the_remote(compared, copy):
    script_runner.run(copy, "dvc", "remote", "add", "-f", "-d", "storage", str(copy.parent / "storage"))
    cache = copy / ".dvc/cache"
    # A folder remote is laid out as the cache is.
    shutil.move(cache, copy.parent / "storage")
    text = report(copy, "main", "better")
    assert "‡ not checked against the output" in text
    files = sorted(path.name for path in (compared / "results/report").iterdir())
    assert files == sorted(path.name for path in Path("results/report").iterdir())
    for name in files:
        assert (compared / "results/report" / name).read_bytes() == Path("results/report", name).read_bytes(), name


@pytest.mark.full
def test_without_the_earlier_predictions_the_report_goes_on_without_their_boxes(copy, compared):
    md5 = revisions.find("main").md5("results/evaluate/predictions.json")
    (copy / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").unlink()
    text = report(copy, "main", "better")
    assert text.count("The boxes found before are not shown") == 1
    assert "neither in the cache nor in the remote" in text
    assert re.search(r"^Best: `.*`, F1 [\d.]+$", text, re.MULTILINE)
    with (
        Image.open("results/report/picture-1.jpg") as one,
        Image.open(compared / "results/report/picture-1.jpg") as both,
    ):
        assert one.width < both.width


@pytest.mark.full
def test_scores_on_other_test_pictures_are_not_compared(copy_of_other_data):
    text = report(copy_of_other_data, "better", "other")
    assert "not comparable: they were measured on other test pictures.**" in text.splitlines()[1]
    assert "| val mAP@50 | 0.600 | 0.600 | = same |" in text
    assert re.search(r"^\| test mAP@50 \| .* \| not comparable \|$", text, re.MULTILINE)
    assert "other data than before." in text
    assert "Best: " in text and "Largest gain" not in text


@pytest.mark.full
def test_other_training_pictures_leave_the_test_scores_comparable(copy_of_other_data, tmp_path):
    before, after = pair("better", "more-train")
    assert changes.test_difference(before, after, tmp_path) == ""
    (line, _) = changes.audit(before, after)
    assert "2 (before: 1) train" in line and "other data than before." in line
    shutil.rmtree(".dvc/cache")
    assert "cannot be checked here" in changes.test_difference(before, after, tmp_path)


def test_the_verdict_tells_worse_from_better_and_chance_from_change(copy):
    assert "0.540 → 0.486** (▼ −0.054 worse" in figures.verdict(*pair("better", "main"), "")
    assert figures.verdict(*pair("main", "main"), "") == "**test mAP@50 0.486 → 0.486** (= same)"
    path = Path("results/evaluate/metrics.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"map50": 0.496}))
    assert "+0.010 better, inside the 95 % interval 0.446–0.526 of `main`: may be chance" in figures.verdict(
        *pair(), ""
    )


@pytest.mark.full
def test_a_first_pull_request_has_nothing_to_compare_with(copy):
    small_repo.git(copy, "rm", "-q", "-r", "results", "dvc.lock")
    small_repo.git(copy, "commit", "-q", "-m", "no results yet")
    assert "neither main nor workspace has test scores: run `dvc repro`" in ended(copy)
    assert "`workspace` has no test scores yet" in figures.verdict(*pair("HEAD~1", "workspace"), "")
    text = report(copy, "main", "HEAD~1")
    assert text.splitlines()[1] == (
        "**test mAP@50 0.486**, 95 % interval 0.446–0.526; `main` has no results to compare with."
    )
    assert "| test mAP@50 | – | 0.486 (0.446–0.526) | – |" in text


def test_behaviour_is_shown_beside_what_it_was_before(compared):
    table = (compared / "results/report.md").read_text().partition("### Behaviour on changed pictures")[2]
    found = {row[0]: row[1:] for row in rows(table.partition("###")[0].splitlines())}
    kept = [read_behaviour(compared, revision)["mirrored"]["kept"] for revision in ("main", "better")]
    assert kept[0] != kept[1]
    assert found["mirrored"] == [*(f"{value:.3f}" for value in kept), "0.8", "yes"]
    assert found["no leaf"] == ["–", "–", "0.9", "yes"]


def read_behaviour(folder: Path, revision: str) -> dict:
    return json.loads(revisions.find(revision, folder).read("results/deploy/behaviour.json"))


def test_nothing_changed_says_so(copy):
    assert changes.params(*pair(), most=9) == ["", "No params changed.", ""]
    assert changes.code(*pair()) == []
    assert changes.stale(revisions.find("workspace")) == changes.stale(revisions.find("main")) == []


@pytest.mark.full
def test_code_that_changed_is_named(copy):
    with open("src/deploy.py", "a") as file:
        file.write("\n# another line\n")
    script_runner.run(copy, "dvc", "repro", "deploy")
    assert changes.code(*pair()) == ["Code of the pipeline that changed: `src/deploy.py`.", ""]


def test_results_older_than_params_code_or_metrics_are_called_so(copy):
    small_repo.set_params(copy, lr=0.05)
    with open("src/evaluate.py", "a") as file:
        file.write("\n# another line\n")
    Path("results/deploy/check.json").write_text("{}")
    reasons = ["train (`lr`)", "evaluate (`src/evaluate.py`)", "deploy (`results/deploy/check.json`)"]
    assert changes.stale(revisions.find("workspace")) == reasons
    small_repo.git(copy, "commit", "-q", "-a", "-m", "forgot dvc repro")
    assert changes.stale(revisions.find("HEAD")) == reasons


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose train stage depends on a folder of code, with results; the current directory."""
    folder = folder_deps.make(tmp_path)
    folder_deps.train(folder, {})
    folder_deps.commit(folder, "results")
    monkeypatch.chdir(folder)
    return folder


def test_results_older_than_a_folder_of_code_are_called_so(rooms):
    folder_deps.leave_ignored(rooms / "src/room")
    assert changes.stale(revisions.find("workspace")) == changes.stale(revisions.find("HEAD")) == []
    folder_deps.write(rooms / "src/room/deep/mosaic.py", "PARTS = 9\n")
    assert changes.stale(revisions.find("workspace")) == ["train (`src/room`)"]
    assert changes.stale(revisions.find("HEAD")) == []
    folder_deps.commit(rooms, "forgot dvc repro")
    assert changes.stale(revisions.find("HEAD")) == ["train (`src/room`)"]


def test_results_of_code_that_is_gone_or_was_never_committed_are_called_so(rooms):
    small_repo.git(rooms, "mv", "src/room", "src/other")
    folder_deps.commit(rooms, "moved, not run")
    assert changes.stale(revisions.find("HEAD")) == changes.stale(revisions.find("workspace")) == ["train (`src/room`)"]
    small_repo.git(rooms, "mv", "src/other", "src/room")
    folder_deps.write(rooms / "src/room/scratch.py", "")
    folder_deps.train(rooms, {})
    small_repo.git(rooms, "commit", "-q", "-a", "-m", "a lock that no clone can repeat")
    assert changes.stale(revisions.find("HEAD")) == changes.stale(revisions.find("workspace")) == ["train (`src/room`)"]


def test_files_that_changed_in_a_folder_of_code_are_named(rooms):
    folder_deps.write(rooms / "src/room/feed.py", "BATCH = 16\n")
    folder_deps.write(rooms / "src/room/new.py", "")
    folder_deps.write(rooms / "src/serving/app.py", "PORT = 9000\n")  # no dep
    small_repo.git(rooms, "add", "-A")
    folder_deps.train(rooms, {})
    named = ["Code of the pipeline that changed: `src/room/feed.py`, `src/room/new.py`.", ""]
    assert changes.code(*pair("HEAD", "workspace")) == named
    folder_deps.commit(rooms, "new results")
    assert changes.code(*pair("HEAD~1", "HEAD")) == changes.code(*pair("HEAD~1", "workspace")) == named
    assert changes.code(*pair("HEAD", "workspace")) == []
    assert comparison.with_head(revisions.find()).changed == []
    folder_deps.write(rooms / "src/room/feed.py", "BATCH = 32\n")
    folder_deps.train(rooms, {})
    assert comparison.with_head(revisions.find()).changed == ["src/room/feed.py"]


def test_classes_that_came_went_or_changed_most_stand_first(copy):
    path = Path("results/evaluate/plots/per_class.csv")
    head = "class,pictures,boxes,ap,ap50\n"
    path.write_text(head + "stays,1,1,0.1,0.5\nup,1,1,0.1,0.2\ndown,1,1,0.1,0.9\ngone,1,2,0.1,0.5\nempty,0,0,,\n")
    small_repo.git(copy, "commit", "-q", "-a", "-m", "before")
    path.write_text(head + "stays,1,1,0.1,0.5\nup,1,1,0.1,0.4\ndown,1,1,0.1,0.6\nnew,1,3,0.1,0.5\nempty,0,0,,\n")
    found = rows(figures.classes(*pair(), "", most=99))
    assert [(row[0].strip("`"), row[4]) for row in found] == [
        ("gone", "class is gone"),
        ("new", "new class"),
        ("down", "▼ −0.300 worse"),
        ("up", "▲ +0.200 better"),
        ("stays", "= same"),
        ("empty", "no box in test"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "a|b <script>",
        "@all",
        "``x``",
        "[y](http://z)",
        "\\|",
        "</details>",
        "#1",
        "-->",
        "a\nb",
        "*b*",
        "&lt;",
        "$x$",
        "x_`odd`",
    ],
)
def test_a_name_cannot_break_out_of_where_it_stands(name):
    shown = markdown.code(name)
    if shown.startswith("<code>"):
        inside = shown.removeprefix("<code>").removesuffix("</code>")
        assert re.fullmatch(r"(\w| |&#\d+;)*", inside)
    else:
        assert re.fullmatch(r"`[^`|<>\\@#\n]+`", shown)


@pytest.mark.full
def test_a_report_on_very_many_classes_fits_into_a_comment_and_says_what_was_cut(copy):
    lines = "".join(f"{i:05d} <{'long|name' * 6}>,1,1,0.1,{0.4 + i % 7 / 100}\n" for i in range(3000))
    Path("results/evaluate/plots/per_class.csv").write_text(f"class,pictures,boxes,ap,ap50\n{lines}")
    text = report(copy)
    assert len(text) < 65_536
    shown = text.count("| new class |") + text.count("| class is gone |")
    assert shown >= 20
    assert f"{3001 - shown} classes with smaller changes are left out" in text
    assert text.count("<details>") == text.count("</details>") == 1
    assert "### Time and cost" in text


def test_costs_of_another_run_are_marked_and_dollars_shown(copy):
    before, after = pair()
    path = Path("results/cost.json")
    figures_of = json.loads(path.read_text())
    model = Path("models/detector")
    figures_of["train"] = {
        "minutes": 12.34,
        "dollars": 1.5,
        "machine": "g5.xlarge",
        "output": hashing.of_files([model], root=model),
    }
    path.write_text(json.dumps(figures_of))
    lines = costs.table(before, after)
    assert "| train | 0.0† | 12.3 | `test` → `g5.xlarge` |" in lines
    assert "| evaluate | 0.0† | 0.0† | `test` |" in lines
    assert "| **dollars** | – | $1.50 |  |" in lines
    assert "† measured on another run" in "\n".join(lines)
    shutil.rmtree(".dvc/cache")
    assert "| train | 0.0‡ | 12.3‡ | `test` → `g5.xlarge` |" in costs.table(before, after)


@pytest.mark.slow
def test_published_pictures_are_on_their_own_branch_and_linked_by_commit(copy):
    bare = origin(copy)

    def state() -> tuple:
        tracked_files = small_repo.git(copy, "status", "--porcelain", "--untracked-files=no")
        return tracked_files, Path(".git/index").read_bytes(), small_repo.git(copy, "for-each-ref", "refs/heads")

    before = state()
    text = report(copy, "main", "better", "--publish", GITHUB_REPOSITORY="someone/leaves")
    assert state() == before
    tip = small_repo.git(bare, "rev-parse", "report-pictures").strip()
    start = f"https://github.com/someone/leaves/blob/{tip}/"
    links = re.findall(r'(?:src|srcset)="([^"]*)"', text)
    assert len(links) == 4 + 6
    assert all(link.startswith(f"{start}{revisions.find('better').commit}/") for link in links)
    assert {link.removeprefix(start).removesuffix("?raw=true") for link in links} == set(tree(bare))
    for link in links:
        stored = small_repo.git(bare, "rev-parse", f"{tip}:{link.removeprefix(start).removesuffix('?raw=true')}")
        name = link.rpartition("/")[2].removesuffix("?raw=true")
        assert stored == small_repo.git(copy, "hash-object", f"results/report/{name}")
    assert small_repo.git(bare, "rev-list", "--max-parents=0", "report-pictures").strip() == tip


@pytest.mark.full
def test_pictures_that_are_not_the_samples_reach_a_private_repository_alone(copy_of_other_data):
    bare = origin(copy_of_other_data)
    text = report(copy_of_other_data, "main", "other", "--publish", GITHUB_REPOSITORY="a/b")
    assert "Test pictures are left out: the repository is not known to be private" in text
    assert text.count("<img") == 2
    assert Path("results/report/picture-1.jpg").is_file()
    assert len(tree(bare)) == 4 and not [name for name in tree(bare) if "picture-" in name]
    private = event(copy_of_other_data, private=True)
    text = report(copy_of_other_data, "main", "other", "--publish", GITHUB_REPOSITORY="a/b", GITHUB_EVENT_PATH=private)
    assert text.count("<img") == 2 + 6
    assert "Test pictures are left out" not in text
    assert len(tree(bare)) == 4 + 6


def test_a_repository_is_private_only_where_github_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_EVENT_PATH", raising=False)
    assert not publishing.is_private()
    for said, private in (
        ({"private": True}, True),
        ({"private": False}, False),
        ({"private": "yes"}, False),
        ({}, False),
    ):
        (tmp_path / "event.json").write_text(json.dumps({"repository": said}))
        monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
        assert publishing.is_private() is private
    (tmp_path / "event.json").write_text("not json")
    with pytest.raises(UserError, match="cannot be read as an event"):
        publishing.is_private()


def test_unchanged_pictures_push_nothing_and_addresses_stay(copy, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    bare = origin(copy)
    commit = revisions.find("main").commit
    first = publishing.push(copy, picture(copy), commit)
    hook(bare, "exit 1\n")
    assert publishing.push(copy, picture(copy), commit) == first
    hook(bare, "exit 0\n")
    other = revisions.find("better").commit
    second = publishing.push(copy, picture(copy), other)
    tips = small_repo.git(bare, "rev-list", "report-pictures").split()
    assert [second, first] == [
        f"https://github.com/a/b/blob/{tip}/{name}" for tip, name in zip(tips, (other, commit), strict=True)
    ]
    assert sorted(tree(bare)) == sorted([f"{commit}/a.png", f"{other}/a.png"])


def test_a_push_that_was_overtaken_is_tried_again(copy, monkeypatch, caplog):
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    caplog.set_level("INFO", "plantdoc")
    bare = origin(copy)
    publishing.push(copy, picture(copy), revisions.find("main").commit)
    line = ("commit-tree", "report-pictures^{tree}", "-p", "report-pictures", "-m", "theirs")
    theirs = small_repo.git(bare, *line).strip()
    # Between our fetch and our push somebody else's commit arrives, once.
    hook(
        bare,
        f"test -e overtaken && exit 0\ntouch overtaken\nunset GIT_QUARANTINE_PATH\n"
        f"git update-ref refs/heads/report-pictures {theirs}\n",
    )
    publishing.push(copy, picture(copy), revisions.find("better").commit)
    assert "trying again" in caplog.text
    assert small_repo.git(bare, "rev-parse", "report-pictures~1").strip() == theirs


@pytest.mark.full
def test_a_remote_that_refuses_gives_the_remedy_and_a_report_without_pictures(copy):
    hook(origin(copy), "echo not for you at https://me:sesame@host/ >&2\nexit 1\n")
    printed = ended(copy, "main", "better", "--publish", GITHUB_REPOSITORY="a/b")
    assert "permissions: contents: write" in printed and "not for you" in printed
    assert "sesame" not in printed
    text = Path("results/report.md").read_text()
    assert "The pictures could not be published" in text
    assert "<img" not in text and "test mAP@50 0.486 → 0.540" in text


def test_a_token_that_may_not_write_gives_the_remedy_and_is_not_printed(copy, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    monkeypatch.setenv("no_proxy", "*")
    origin(copy)

    class Forbidden(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidden) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://me:sesame@127.0.0.1:{server.server_port}/a/b.git"
        small_repo.git(copy, "remote", "set-url", "--push", "origin", url)
        with pytest.raises(UserError, match=r"403.*contents: write") as raised:
            publishing.push(copy, picture(copy), revisions.find("main").commit)
        server.shutdown()
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "repository", "said"),
    [
        (None, "a/b", "there is no git remote named origin"),
        ("https://gitlab.example/a/b.git", "", "origin is not on github.com"),
        ("../nowhere.git", "", "set GITHUB_REPOSITORY to OWNER/NAME"),
        ("../nowhere.git", "a/b", "cannot be used .* check its address"),
    ],
)
def test_a_remote_that_cannot_serve_is_named_with_the_remedy(copy, monkeypatch, url, repository, said):
    monkeypatch.setenv("GITHUB_REPOSITORY", repository)
    if url:
        small_repo.git(copy, "remote", "add", "origin", url)
    with pytest.raises(UserError, match=said):
        publishing.push(copy, picture(copy), revisions.find("main").commit)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/some.one/leaves.git",
        "https://token@github.com/some.one/leaves",
        "git@github.com:some.one/leaves.git",
        "ssh://git@github.com/some.one/leaves.git/",
    ],
)
def test_the_address_on_github_follows_from_any_form_of_the_remote(tmp_path, monkeypatch, url):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    small_repo.git(tmp_path, "init", "-q")
    small_repo.git(tmp_path, "remote", "add", "origin", url)
    assert publishing.address(tmp_path) == ("https://github.com", "some.one/leaves")


def test_a_revision_that_is_not_there_is_named_and_nothing_is_written(copy):
    assert "nowhere is no commit, branch, tag or experiment here" in ended(copy, "nowhere")
    assert not Path("results/report.md").exists()


@pytest.mark.parametrize("path", ["results/evaluate/metrics.json", "params.yaml"])
def test_a_file_broken_by_a_merge_is_named(copy, path):
    Path(path).write_text("<<<<<<< HEAD\nlr: 1\n=======\nlr: 2\n>>>>>>> theirs\n")
    printed = ended(copy)
    assert f"{path} of workspace cannot be read; is there a merge conflict" in printed
    assert not Path("results/report.md").exists() and not Path("results/report").exists()
