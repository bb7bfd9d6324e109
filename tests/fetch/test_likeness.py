"""PlantDoc as its authors publish it: photos of any size and aspect, odd names, wrong suffixes, faults in the boxes."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
from pathlib import Path

import pytest
import small_repo
import source_folders

import fetch as stage

COUNT = 60
NAMES = ("{}.jpg", "{}?w=640.jpg", "{}%20x.jpg", "a b {}.jpg", "{}.jpg?w=640&h=3", "{}.JPG", "Blatt, grün {}.jpeg")


def write(folder: Path, draw: random.Random) -> set[str]:
    """Write the pictures and their boxes; returns the names of those with a fault that cannot be mended."""
    planted = set()
    for i in range(COUNT):
        megapixels, aspect = 10 ** draw.uniform(-1, 1), 2 ** draw.uniform(-1.5, 1.5)
        width, height = (round((megapixels * 1e6 * a) ** 0.5) for a in (aspect, 1 / aspect))
        kind = draw.choice(("JPEG", "JPEG", "PNG", "WEBP", "GIF")) if megapixels < 2 else "JPEG"
        data = source_folders.encoded(source_folders.image(i, (width, height)), kind)
        name = f"{'TEST' if i % 8 == 0 else 'TRAIN'}/{draw.choice(NAMES).format(f'leaf{i}')}"
        if i % 20 == 5:
            data = data[: len(data) // 2] if i % 40 == 5 else b"<html>404</html>"
            planted.add(name)
        corners = (0.1 * width, 0.2 * height, 0.6 * width + (width if i % 13 == 0 else 0), 0.7 * height)
        size = (0, 0) if i % 10 == 0 else (width, height)
        source_folders.write_voc(
            folder, name, None, [(tuple(map(round, corners)), draw.choice(("rust", "scab")))], size
        )
        if not name.lower().endswith((".jpg", ".jpeg")):  # pathlib takes what follows the last dot for a suffix
            made = (folder / name).with_suffix(".xml")
            made.rename(folder / f"{name}.xml")
        (folder / name).write_bytes(data)
    return planted


@pytest.mark.full
def test_nothing_is_lost_but_what_was_planted(tmp_path, in_this_process):
    planted = write(tmp_path / "source", random.Random(7))
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(small_repo.ROOT / "params.yaml", work)
    small_repo.set_params(work, fetch__source="../source", fetch__max_dropped_fraction=0.1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.chdir(work):
        stage.main()
    report = json.loads((work / "results/fetch/report.json").read_text())
    assert {line["name"] for line in report["dropped"]} == planted and len(planted) == 3
    assert sum(report[f"pictures_{split}"] for split in ("train", "val", "test")) == COUNT - len(planted)
    assert (
        report["source"]["boxes"] == COUNT and report["source"]["boxes_lost"] == len(planted) and not report["unread"]
    )
    # A picture of 10 megapixels takes 30 MB decoded; three copies of it are the most at a time.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB
