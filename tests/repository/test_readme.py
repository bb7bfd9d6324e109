"""What README.md, CONTRIBUTING.md and pages of docs/ tell to type works, and what they point at is there.

Every command in a ```bash block and in the table of everyday commands is taken apart at `&&`, and each part is either
in CHEAP and run here on a copy, or checked by its kind: a make target, a script with its options, a command line that
DVC's own parser takes, with params that are there and may have these values. The costly ones are run end to end by
other tests.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys

import external_programs
import pytest
import rectangle_bundles
import rectangle_detector
import running_server
import script_runner
import small_repo
from import_graph import ROOT, STAGES
from ruamel.yaml import YAML

from plantdoc.core import params
from plantdoc.fetch import source_place
from plantdoc.settings import all_params

DOCS = ["own_pictures", "first-hour-on-aws", "cost_bounds", "serving"]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in DOCS)]
# Run here; what they print has this in it.
CHEAP = {
    "python scripts/recipe.py": "plantdoc-laptop",
    "python scripts/recipe.py sample": "params.yaml was set so already",
    "python scripts/recipe.py plantdoc-laptop": "fetch.source: sample → plantdoc",
    "python scripts/recipe.py plantdoc-gpu-yolov8": "model.size: xs → m",
    'python scripts/recipe.py plantdoc-laptop fetch.source=data/own fetch.licence="CC BY 4.0" '
    'fetch.attribution="my name"': "fetch.licence:  → CC BY 4.0",
    "make": "make repro",
}
# Nothing of ours is in them.
PLAIN = {'git commit -m "Data in S3" .dvc/config', ". .venv/bin/activate", "git checkout COMMIT", "dvc checkout"}


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command the pages tell to type, once."""
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    table = re.search(r"## Everyday commands\n(.*?)\n\n[^|]*\n\n\| file", text("README.md"), re.DOTALL)
    lines += re.findall(r"^\| `(.*?)` \|", table[1], re.MULTILINE)
    parts = [part.strip() for line in lines for part in re.sub(r"\s+# .*", "", line).split("&&")]
    return list(dict.fromkeys(filter(None, parts)))


def kind(command: str) -> str:
    if command in CHEAP:
        return "cheap"
    return "plain" if command in PLAIN else shlex.split(command)[0]


def of_kind(*kinds: str) -> list[str]:
    return [command for command in commands() if kind(command) in kinds]


def test_there_are_commands_and_each_is_of_a_known_kind():
    assert len(commands()) > 20
    known = {"cheap", "plain", "make", "dvc", "python", "curl"}
    for command in commands():
        assert kind(command) in known, f"nothing here tries `{command}`: add it to CHEAP"


def test_nothing_is_tried_that_no_page_tells():
    assert set(CHEAP) - {"make"} <= set(commands())
    assert set(commands()) >= PLAIN
    assert "`make` alone" in text("Makefile")


@pytest.mark.parametrize("command", CHEAP)
def test_cheap_commands_do_what_is_told(command, tmp_path):
    for name in ("Makefile", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("scripts", "recipes", "src"):
        shutil.copytree(ROOT / name, tmp_path / name)
    run = small_repo.run if command == "make" else script_runner.run
    done = run(tmp_path, *shlex.split(command))
    assert CHEAP[command] in done.stdout


@pytest.mark.full
def test_what_curl_asks_is_answered(tmp_path):
    external_programs.program("curl")
    archive = rectangle_bundles.rectangles(tmp_path / "bundle")
    rectangle_detector.picture(126, 84, {"red": (30, 10, 50, 30)}).save(tmp_path / "leaf.jpg", quality=95)
    with running_server.running(archive) as server:
        for command in of_kind("curl"):
            words = shlex.split(command.replace("http://127.0.0.1:8080", server.url))
            done = subprocess.run([*words, "--silent"], cwd=tmp_path, check=True, capture_output=True, text=True)
            assert [one["class_name"] for one in json.loads(done.stdout)["detections"]] == ["red"]


@pytest.mark.parametrize("command", of_kind("make"))
def test_make_targets_are_there(command):
    # -n: what would be run, without running it.
    done = subprocess.run(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    target = shlex.split(command)[1]
    assert re.search(rf"^{target}:.*## \w", text("Makefile"), re.MULTILINE), f"`make` does not list {target}"


@pytest.mark.parametrize("command", of_kind("python"))
def test_scripts_have_the_options(command):
    _, script, *options = shlex.split(command)
    done = script_runner.run(ROOT, "python", script, "--help")
    for option in (word for word in options if word.startswith("-")):
        assert re.search(rf"^  {option}\b", done.stdout, re.MULTILINE), f"{script} has no {option}"


@pytest.mark.parametrize("command", of_kind("dvc"))
def test_dvc_takes_the_command_and_the_params_are_there(command):
    from dvc.cli.parser import get_main_parser

    words = shlex.split(command)[1:]
    arguments = get_main_parser().parse_args(words)
    for change in getattr(arguments, "set_param", None) or []:
        key, _, values = change.partition("=")
        for value in [values] if values.startswith("'") else values.split(","):
            document = params.read(ROOT / "params.yaml")
            section = document
            for part in key.split(".")[:-1]:
                section = section[part]
            section[key.split(".")[-1]] = YAML(typ="safe").load(value)
            params.check(all_params.Params, document)
    if words[0] == "repro":
        assert set(arguments.targets or []) <= set(STAGES)


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_are_there(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)", text(page)) if "://" not in link]
    for link in links:
        assert (ROOT / page).parent.joinpath(link).exists(), f"{page} points at {link}"
    for path in re.findall(r"`((?:src|tests|scripts|recipes|docs)/[\w./-]+)`", text(page)):
        assert (ROOT / path).exists(), f"{page} names {path}"
    outputs = text("dvc.yaml") + source_place.OWN
    for path in re.findall(r"`((?:data|models|results)/[\w./-]+)`", text(page)):
        folder = path.rstrip("/")
        assert folder in outputs or folder.rpartition("/")[0] in outputs, f"{page}: no stage makes {path}"


@pytest.mark.parametrize(
    "key", sorted({key for page in PAGES for key in re.findall(r"`([a-z]+\.[a-z_]+)`", text(page))})
)
def test_params_that_are_named_are_there(key):
    section, _, name = key.partition(".")
    known = params.read(ROOT / "params.yaml")
    if section in known and name != "txt":
        assert name in known[section], f"a page names {key}"


def test_python_in_the_readme_runs(tmp_path, monkeypatch):
    (block,) = blocks("README.md", "python")
    files = {"results/evaluate/metrics.json": '{"map50": 0.5}', "results/evaluate/predictions.json": "[1]"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    small_repo.git(tmp_path, "init", "-q", "-b", "main")
    small_repo.git(tmp_path, "add", "-A")
    small_repo.git(tmp_path, "commit", "-q", "-m", "results")
    script = f"{block}\nprint(metrics['map50'], predictions)\n"
    done = small_repo.run(tmp_path, sys.executable, "-c", script)
    assert done.stdout.strip().endswith("0.5 [1]")


@pytest.mark.parametrize("page", [*PAGES, *(f"recipes/{path.name}" for path in sorted(ROOT.glob("recipes/*.yaml")))])
def test_no_figure_is_left_open(page):
    assert "«" not in text(page), f"{page} waits for a measured figure"
