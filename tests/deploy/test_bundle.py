"""plantdoc.deploy.bundle, parity and predictions: what is shipped is whole, reproducible, and answers as evaluated."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import evaluated_repo
import pytest
from PIL import Image

from plantdoc.coco import dataset
from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle, parity
from plantdoc.serving import predictions

EXPORT = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import rectangle_detector
from plantdoc.deploy import bundle
from plantdoc.serving import served_model
out = Path(sys.argv[1])
bundle.export(served_model.Server(rectangle_detector.RectangleDetector()), out / "content/1")
(out / "content/labels.json").write_text("[]")
bundle.pack(out / "content", out / "model.tar.gz")
"""


@pytest.fixture(scope="module")
def archive(root: Path, tmp_path_factory) -> Path:
    """A bundle of the detector of rectangles, made in a process of its own."""
    folder = tmp_path_factory.mktemp("bundle")
    script = EXPORT.format(paths=[str(root / "src"), str(root / "tests/support")])
    subprocess.run([sys.executable, "-c", script, folder], check=True, capture_output=True)
    return folder / "model.tar.gz"


@pytest.mark.full
def test_a_fresh_process_finds_the_rectangles(archive, tmp_path):
    bundle.unpack(archive, tmp_path / "unpacked")
    split = evaluated_repo.write_split(tmp_path / "test", 5, seed=3)
    # The detector of rectangles names red 0, green 1, blue 2; the truth must agree.
    order = ("red", "green", "blue")
    boxes = [tuple(Box(b.xywh, order.index(split.classes[b.category])) for b in p.boxes) for p in split.pictures]
    pictures = [Picture(p.id, p.file_name, p.width, p.height, b) for p, b in zip(split.pictures, boxes, strict=True)]
    dataset.save(Split(order, tuple(pictures)), tmp_path / "test")
    rows = bundle.ask(tmp_path / "unpacked/1", tmp_path / "test", [1, 2, 5], threads=1)
    assert {row["image_id"] for row in rows} == {1, 2, 5}
    for picture in pictures:
        if picture.id in (1, 2, 5):
            found = {row["category_id"]: row["bbox"] for row in rows if row["image_id"] == picture.id}
            assert set(found) >= {box.category for box in picture.boxes}
            hidden = len(picture.boxes) == 2  # one rectangle may cover another in part
            for box in picture.boxes if not hidden else ():
                assert found[box.category] == pytest.approx(
                    box.xywh, abs=max(1, 1.3 * max(picture.width, picture.height) / 128)
                )


@pytest.mark.full
def test_a_model_of_other_classes_is_a_clear_error(archive, tmp_path):
    bundle.unpack(archive, tmp_path / "unpacked")
    evaluated_repo.write_split(tmp_path / "test", 2, seed=3)  # blue, green, red instead of red, green, blue
    with pytest.raises(UserError, match="knows other classes"):
        bundle.ask(tmp_path / "unpacked/1", tmp_path / "test", [1, 2], threads=1)


@pytest.mark.full
def test_a_model_that_does_not_load_is_a_clear_error(tmp_path):
    evaluated_repo.write_split(tmp_path / "test", 1, seed=3)
    with pytest.raises(UserError, match="does not load or answer"):
        bundle.ask(tmp_path, tmp_path / "test", [1], threads=1)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    with pytest.raises(UserError, match=r"bad\.jpg cannot be decoded"):
        predictions.predict(None, tmp_path, [Picture(1, "bad.jpg", 9, 9)], ("leaf",))


def test_a_picture_cut_short_is_named(tmp_path):
    import rectangle_detector

    from plantdoc.serving import served_model

    file = io.BytesIO()
    Image.effect_noise((90, 90), 80).convert("RGB").save(file, "JPEG")
    (tmp_path / "short.jpg").write_bytes(file.getvalue()[:700])
    server = served_model.Server(rectangle_detector.RectangleDetector())
    with pytest.raises(UserError, match=r"short\.jpg cannot be decoded"):
        predictions.predict(server.serve, tmp_path, [Picture(1, "short.jpg", 90, 90)], ("red", "green", "blue"))


def test_packing_forgets_times_owners_and_modes(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / name
        (folder / "1").mkdir(parents=True)
        files = [folder / "1/x", folder / "y"]
        for path in files if name == "a" else files[::-1]:
            path.write_text(path.name)
            path.chmod(0o600 if name == "a" else 0o755)
        bundle.pack(folder, tmp_path / f"{name}.tar.gz")
    packed = (tmp_path / "a.tar.gz").read_bytes()
    assert packed == (tmp_path / "b.tar.gz").read_bytes()
    assert packed[3:8] == bytes(5), "gzip's header holds neither a name nor a time"
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert [(m.name, m.mode, m.mtime, m.uname) for m in tar] == [("1/x", 0o644, 0, ""), ("y", 0o644, 0, "")]
    bundle.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert (tmp_path / "out/1/x").read_text() == "x"


def packed(path: Path, *members: tuple[str, bytes, str, bytes], format: int = tarfile.USTAR_FORMAT) -> Path:
    """A .tar.gz of members: name, type, where a link leads, content."""
    with tarfile.open(path, "w:gz", format=format) as tar:
        for name, kind, target, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "name", ["../outside", "a/../../outside", "/tmp/outside", "C:/outside", "a\\..\\..\\outside", ".."]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_a_name_that_leads_outside_is_refused(tmp_path, name, kind):
    archive = packed(tmp_path / "evil.tar.gz", ("1/fine", tarfile.REGTYPE, "", b"x"), (name, kind, "", b""))
    with pytest.raises(UserError, match="a name that leads out of it"):
        bundle.unpack(archive, tmp_path / "out/in")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["fine"]
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "../../outside"),
        (tarfile.SYMTYPE, "1/fine"),
        (tarfile.LNKTYPE, "1/fine"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CONTTYPE, ""),
        (b"Z", ""),
    ],
)
def test_links_devices_and_unknown_members_are_refused(tmp_path, kind, target):
    archive = packed(
        tmp_path / "evil.tar.gz",
        ("1/fine", tarfile.REGTYPE, "", b"x"),
        ("it", kind, target, b""),
        ("it/x", b"0", "", b""),
    )
    with pytest.raises(UserError, match="holds a link or device, 'it'"):
        bundle.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out/it").exists() and not (tmp_path / "out/it").is_symlink()


def test_a_sparse_member_is_refused(tmp_path):
    path = tmp_path / "sparse.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("1/huge")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**13)}
        member.pax_headers["GNU.sparse.name"] = "1/huge"
        content = b"1\n0\n0\n".ljust(512, b"\0")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match=r"1/huge"):
        bundle.unpack(path, tmp_path / "out")


BOMBS = {
    "one file": [("1/zeros", b"0", "", bytes(3_000_000))],
    "many files": [(f"1/{i}", b"0", "", bytes(100_000)) for i in range(30)],
    # Members that are no content of a file are bytes too.
    "a link's content": [("it", b"2", "x", bytes(3_000_000))],
    "a long name": [("long/" * 600_000, b"0", "", b"")],
}


@pytest.mark.parametrize("kind", BOMBS)
def test_more_bytes_than_the_bound_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(bundle, "BOUNDS", dataclasses.replace(bundle.BOUNDS, small=1_000_000))
    archive = packed(tmp_path / "bomb.tar.gz", *BOMBS[kind], format=tarfile.GNU_FORMAT)
    assert archive.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"unpacks to more than 0\.001 GB \(50 times its size\)|link or device"):
        bundle.unpack(archive, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written <= 1_000_000


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_more_members_than_the_bound_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(bundle, "BOUNDS", dataclasses.replace(bundle.BOUNDS, files=10))
    fits = packed(tmp_path / "fits.tar.gz", *((f"1/{i}", kind, "", b"") for i in range(10)))
    bundle.unpack(fits, tmp_path / "fits")
    archive = packed(tmp_path / "many.tar.gz", *((f"1/{i}", kind, "", b"") for i in range(11)))
    with pytest.raises(UserError, match="holds more than 10 files"):
        bundle.unpack(archive, tmp_path / "out")


def test_one_that_is_packed_by_hand_is_taken(tmp_path):
    """As `tar -czf bundle.tar.gz -C folder .` names members."""
    members = ((".", b"5", "", b""), ("./1", b"5", "", b""), ("./1/x", b"0", "", b"x"))
    bundle.unpack(packed(tmp_path / "by_hand.tar.gz", *members), tmp_path / "out")
    assert (tmp_path / "out/1/x").read_bytes() == b"x"


def test_a_file_and_a_folder_of_one_name_are_told(tmp_path):
    archive = packed(tmp_path / "odd.tar.gz", ("1", b"0", "", b"x"), ("1/x", b"0", "", b"x"))
    with pytest.raises(UserError, match="a file and a folder of the same name"):
        bundle.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00broken", b"no archive", gzip.compress(b"no tar" * 999)])
def test_a_damaged_archive_is_a_clear_error(tmp_path, content):
    (tmp_path / "bad.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be unpacked .*it is no bundle"):
        bundle.unpack(tmp_path / "bad.tar.gz", tmp_path / "out")


CONFIG = SimpleNamespace(score_floor=0.001, nms_iou=0.6, max_detections=5)
SPLIT = Split(("leaf", "spot"), (Picture(1, "a.jpg", 200, 200), Picture(2, "b.jpg", 200, 200)))
EXPECTED = [
    {"image_id": 1, "category_id": 0, "bbox": [10.0, 10.0, 50.0, 50.0], "score": 0.9},
    {"image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 50.0, 50.0], "score": 0.5},
    {"image_id": 2, "category_id": 0, "bbox": [90.0, 90.0, 20.0, 30.0], "score": 0.4},
]


def changed(row: int, **values) -> list[dict]:
    rows = json.loads(json.dumps(EXPECTED))
    rows[row].update(values)
    return rows


def differences(answered: list[dict], expected=EXPECTED) -> list[str]:
    return parity.differences(expected, answered, CONFIG, SPLIT, [1, 2])


def test_equal_answers_do_not_differ_nor_does_noise():
    assert differences(EXPECTED) == []
    assert differences(EXPECTED[::-1]) == []
    assert differences(changed(0, score=0.90005, bbox=[10.05, 10, 49.95, 50])) == []


@pytest.mark.parametrize(
    "values",
    [
        {"score": 0.9002},
        {"bbox": [10.2, 10.0, 50.0, 50.0]},
        {"bbox": [10.0, 10.0, 50.0, 49.8]},
        {"category_id": 1},
        {"image_id": 2},
    ],
)
def test_a_changed_detection_is_a_difference_on_both_sides(values):
    lines = differences(changed(0, **values))
    assert len(lines) == 2
    assert "evaluate alone finds leaf at [10.0, 10.0, 50.0, 50.0], score 0.9" in lines[0]
    assert any("the bundle alone finds" in line for line in lines)


def test_a_missing_and_an_added_detection_are_differences():
    assert len(differences(EXPECTED[1:])) == len(differences([])) - 2 == 1
    assert differences(EXPECTED + changed(2, bbox=[0.0, 0.0, 9.0, 9.0])[2:]) == [
        "b.jpg: the bundle alone finds leaf at [0.0, 0.0, 9.0, 9.0], score 0.4"
    ]


def test_a_detection_counts_once():
    assert len(differences([*EXPECTED, EXPECTED[0]])) == 1


def test_other_pictures_are_not_looked_at():
    assert parity.differences(EXPECTED, EXPECTED[:2], CONFIG, SPLIT, [1]) == []


def test_what_lies_at_the_floor_may_come_or_go():
    faint = {"image_id": 1, "category_id": 0, "bbox": [150.0, 150.0, 20.0, 20.0], "score": 0.00105}
    assert differences([*EXPECTED, faint]) == []
    assert len(differences([*EXPECTED, {**faint, "score": 0.002}])) == 1
    assert len(differences([*EXPECTED, *({**faint, "image_id": 2, "category_id": i % 2} for i in range(3))])) == 3


def test_what_lies_at_the_cut_may_come_or_go():
    rows = [{**EXPECTED[0], "bbox": [10.0 * i, 0.0, 9.0, 9.0], "score": 0.9 - i / 10} for i in range(6)]
    last = {**rows[5], "score": rows[4]["score"] - 5e-5}
    assert differences([*rows[:4], last], rows[:5]) == []
    assert len(differences([*rows[:3], rows[4], last], rows[:5])) == 1, "the fourth is missing, well above the cut"


def test_what_is_suppressed_by_a_hair_may_come_or_go():
    strong = EXPECTED[0]
    nearly = {**strong, "bbox": [10.0, 10.0, 50.0, 30.1], "score": 0.3}  # IoU 0.602
    clearly = {**strong, "bbox": [10.0, 10.0, 50.0, 20.0], "score": 0.3}  # IoU 0.4
    assert differences([*EXPECTED, nearly]) == []
    assert len(differences([*EXPECTED, clearly])) == 1
    assert len(differences([*EXPECTED, {**nearly, "score": 0.95}])) == 1, "a stronger one suppresses, not a weaker"
    assert len(differences([*EXPECTED, {**nearly, "category_id": 1, "bbox": [10.0, 10.0, 50.0, 20.0]}])) == 1
