"""Random data sets come out of every format as they went in, and damaged ones with a reason for every file."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import random_sources

from plantdoc.core.errors import UserError
from plantdoc.fetch import boxes, decode, formats
from plantdoc.fetch.raw_data import RawPicture

# What readers stumble over.
ODD = (b"null", b"nan", b"1e999", b"-1", b"[]", b"{}", b'""', b"\0", b"\xff\xfe", b"<", b"9" * 400, b"[" * 2000)


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read(folder: Path) -> formats.Reading:
    scratch = folder.parent / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return formats.read(folder, scratch)


def found(reading: formats.Reading) -> dict[bytes, tuple[str, list]]:
    """Split, classes and corners (px) of each picture by its bytes."""
    result = {}
    for p in reading.data.pictures:
        scale = (*random_sources.SIZE, *random_sources.SIZE) if p.relative else (1, 1, 1, 1)
        its = [(b.name, tuple(round(v * s) for v, s in zip(b.corners, scale, strict=True))) for b in p.boxes]
        result[p.path.read_bytes()] = (p.split, sorted(its))
    return result


@pytest.mark.large
@pytest.mark.parametrize("kind", random_sources.WRITERS)
def test_what_is_written_is_read(kind, times, tmp_path):
    for seed in range(15 * min(times, 20)):
        draw = random.Random(f"{kind} {seed}")
        made = random_sources.truth(draw)
        folder = tmp_path / str(seed)
        files = random_sources.WRITERS[kind](made, draw)
        order = list(files)
        draw.shuffle(order)
        write(folder, {name: files[name] for name in order})
        reading = read(folder)
        expected = {
            random_sources.content(split, name): (split, sorted(its)) for (split, name), its in made.pictures.items()
        }
        assert found(reading) == expected, f"{kind}, seed {seed}"
        assert not reading.data.lost
        assert not reading.unread
        shutil.rmtree(folder)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The bytes with one to three faults: bits turned, bytes cut, doubled, or replaced by what readers stumble over."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + draw.randint(1, 40)]
        elif kind == 3:
            data[at:at] = data[at : at + draw.randint(1, 200)]
        elif kind == 4:
            data[at : at + draw.randint(0, 8)] = draw.choice(ODD)
        elif kind == 5:
            digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
            if digits:
                data[draw.choice(digits)] = draw.choice(b"0123456789.-eE ")
        else:
            data[at : at + 1] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 6)))
    return bytes(data)


def has_a_fate(reading: formats.Reading, folder: Path) -> list[str]:
    """The files of a source of which the reading says nothing."""
    data = reading.data
    told = (
        {p.name for p in data.pictures}
        | {one.name for one in data.lost}
        | {*data.annotations, *data.auxiliary, *reading.unread}
    )
    told |= {name.partition("#")[0] for name in told}
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in names if name not in told]


def audited(picture: RawPicture) -> str:
    """Decode a picture and clean its boxes, as fetch does; returns "ok" or the reason against it."""
    try:
        decoded = decode.decode(picture.path.read_bytes(), 50_000_000)
    except decode.PictureError as error:
        return str(error)
    boxes.clean(picture, decoded.stored_size, decoded.orientation, 4)
    decode.to_stored_form(decoded, picture.path.read_bytes())
    return "ok"


@pytest.mark.full
@pytest.mark.large
@pytest.mark.parametrize("kind", random_sources.WRITERS)
def test_damaged_files_are_named_and_never_a_traceback(kind, times, tmp_path):
    """Half of the faults are in annotations, half in pictures; what ends the reading is one message."""
    draw = random.Random(kind)
    outcomes = {"read": 0, "refused": 0}
    for i in range(150 * times):
        if i % 20 == 0:
            shutil.rmtree(tmp_path / "source", ignore_errors=True)
            files = random_sources.WRITERS[kind](random_sources.truth(draw), draw)
            write(tmp_path / "source", files)
        pictures = [name for name in files if decode.SUFFIXES & {Path(name).suffix.lower()}]
        others = [name for name in files if name not in pictures]
        name = draw.choice(pictures if pictures and draw.random() < 0.5 else others)
        (tmp_path / "source" / name).write_bytes(mutated(files[name], draw))
        try:
            reading = read(tmp_path / "source")
            assert not has_a_fate(reading, tmp_path / "source"), f"{kind} {i}: {name}"
            assert all(map(audited, reading.data.pictures))
            outcomes["read"] += 1
        except UserError as error:
            assert str(tmp_path / "source") in str(error)
            outcomes["refused"] += 1
        except Exception as error:
            pytest.fail(f"{kind}, mutation {i} of {name}: {type(error).__name__}: {error}")
        (tmp_path / "source" / name).write_bytes(files[name])
    assert outcomes["read"]
