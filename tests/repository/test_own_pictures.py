"""docs/own_pictures.md: what it says of reasons, lines, formats, splits and odd paths is what the code does.

Its commands, links and params are tried by test_readme.py; `make check-data` by tests/fetch/test_check_data.py.
"""

from __future__ import annotations

import re
import runpy
import shutil

import pytest
from import_graph import ROOT
from ruamel.yaml import YAML

from plantdoc.fetch import formats, split_names

PAGE = (ROOT / "docs/own_pictures.md").read_text(encoding="utf-8")


def table(title: str) -> list[list[str]]:
    """The cells of the first table below a heading or line."""
    rows = re.search(r"\n(\|.*?)\n\n", PAGE[PAGE.index(title) - 1 :] + "\n\n", re.DOTALL)[1].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_every_reason_with_a_remedy_is_one_that_is_given():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/plantdoc").rglob("*.py"))
    code = re.sub(r'"\n\s+f?"', "", code)  # texts over several lines
    reasons = [reason for row in table("### Remedies") for reason in re.findall(r"`(.*?)`", row[0])]
    assert len(reasons) > 20
    assert [reason for reason in reasons if reason not in code] == []


def test_every_heading_of_a_line_is_explained():
    check_data = runpy.run_path(str(ROOT / "scripts/check_data.py"))
    assert {re.sub("`", "", row[0]) for row in table("| line |")} == {*check_data["KINDS"], "note", "fault"}
    for heading in check_data["KINDS"]:
        assert f"\n{heading:11} " in PAGE or heading in ("left out", "repaired")
    assert check_data["REMEDIES"] == "docs/own_pictures.md"
    assert [words for words in check_data["ADVICE"] if words not in PAGE] == []


def test_every_format_is_in_the_table():
    named = [row[0] for row in table("## Formats")]
    read = [*(reader.NAME for reader in formats._READERS), formats.tf_object_detection.NAME]
    assert sorted(named) == sorted(read)
    assert all(len(row) == 4 for row in table("## Formats"))


def test_the_words_for_splits_are_those_that_are_known():
    paragraph = re.search(r"\n(`train`, .*?) are known", PAGE, re.DOTALL)[1]
    groups = [re.findall(r"`(\w+)`", group) for group in paragraph.split(";")]
    assert [(word, group[0]) for group in groups for word in group] == list(split_names._SPLITS.items())
    for folder, split in (("TRAIN", "train"), ("valid", "val"), ("images/test2017", "test"), ("val_images", "val")):
        assert split_names.of_folder(f"{folder}/x.jpg") == split and f"`{folder}`" in PAGE
    assert split_names.of_folder("test strips/x.jpg") is None and "`test strips`" in PAGE


@pytest.mark.parametrize(
    "path",
    [
        "../Blätter, 2024 (1)",
        "../叶子",
        "~/leaves",
        "../x=y",
        "../leaves #1",
        "../[1] {2}",
        "../a@b 50%",
        "1234",
        "null",
        "../it's",
    ],
)
def test_dvc_takes_any_path_in_quotes_inside_of_the_quotes(path, tmp_path):
    """BR-51, by the function with which `dvc exp run -S` changes params.yaml."""
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides

    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    quoted = path.replace("'", r"\'")
    apply_overrides(file, [f"fetch.source='{quoted}'"])
    assert YAML(typ="safe").load(file)["fetch"]["source"] == path
    if re.search("[,=#~()äé叶]", path):  # else no word on it would be needed
        with pytest.raises(InvalidArgumentError):
            apply_overrides(file, [f"fetch.source={path}"])


def test_dvc_takes_plain_paths_without_quotes(tmp_path):
    from dvc.utils.hydra import apply_overrides

    file = tmp_path / "params.yaml"
    for path in ("data/own", "../my-leaves", "../my leaves", "/home/me/leaves.zip", "s3://bucket/leaves"):
        shutil.copy(ROOT / "params.yaml", file)
        apply_overrides(file, [f"fetch.source={path}"])
        assert YAML(typ="safe").load(file)["fetch"]["source"] == path
