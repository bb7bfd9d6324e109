"""Archives are unpacked, and what could do harm is refused."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from plantdoc.core.errors import UserError
from plantdoc.fetch import archive

FILES = {"a/TRAIN/x y%20.jpg": os.urandom(3000), "a/TRAIN/ü.xml": b"<x/>" * 50, "top.txt": b""}


def make_zip(path: Path, files: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = options.get("mode", 0o644) << 16
            file.writestr(info, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz", **attributes: object) -> Path:
    with tarfile.open(path, mode) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in attributes.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(data))
    return path


def unpack(path: Path) -> dict[str, bytes]:
    to = path.parent / "out"
    to.mkdir()
    archive.unpack(path, to)
    return {p.relative_to(to).as_posix(): p.read_bytes() for p in to.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_what_went_in_comes_out_whatever_the_name(kind, tmp_path):
    path = tmp_path / "download"
    if kind == "zip":
        make_zip(path, FILES)
    else:
        make_tar(path, FILES, "w:" + kind.partition(".")[2])
    assert unpack(path) == FILES


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "..\\out.txt", "C:\\out.txt"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_out_are_refused(name, make, tmp_path):
    path = make(tmp_path / "x", {"good.txt": b"1", name: b"2"})
    with pytest.raises(UserError, match="a name that leads out of it"):
        unpack(path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["good.txt", "x"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind, tmp_path):
    path = make_tar(tmp_path / "x.tar.gz", {"link": b""}, type=kind, linkname="etc/passwd")
    with pytest.raises(UserError, match="a link or device, 'link'"):
        unpack(path)


def test_a_hard_link_in_a_tar_is_the_file_that_came_before_and_none_outside(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"leaf")
    (tmp_path / "b.jpg").hardlink_to(tmp_path / "a.jpg")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "a.jpg", "a.jpg")
        tar.add(tmp_path / "b.jpg", "b.jpg")
    assert (unpack(tmp_path / "x.tar")) == {"a.jpg": b"leaf", "b.jpg": b"leaf"}
    outside = make_tar(tmp_path / "y.tar", {"link": b""}, type=tarfile.LNKTYPE, linkname="/etc/passwd")
    with pytest.raises(UserError, match="a name that leads out of it"):
        archive.unpack(outside, tmp_path / "out")


def test_names_too_long_for_a_file_system_are_shortened_alike_for_a_picture_and_its_label(tmp_path):
    path = make_zip(tmp_path / "x.zip", {f"train/{'叶' * 84}.jpg": b"1", f"train/{'叶' * 84}.xml": b"2"})
    names = sorted(unpack(path))
    assert len(names) == 2 and all(len(Path(name).name.encode()) <= 255 for name in names)
    assert Path(names[0]).stem == Path(names[1]).stem and {Path(n).suffix for n in names} == {".jpg", ".xml"}


def test_zip_names_in_utf8_without_its_flag_are_read_as_such(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"XXXX.jpg": b"1"})
    path.write_bytes(path.read_bytes().replace(b"XXXX", "Äö".encode()))
    assert list(unpack(path)) == ["Äö.jpg"]


def test_links_in_a_zip_are_refused(tmp_path):
    with pytest.raises(UserError, match="a link or device, 'link'"):
        unpack(make_zip(tmp_path / "x.zip", {"link": b"/etc/passwd"}, mode=0o120777))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_what_comes_out_is_bounded(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_SMALL", 2_000_000)  # one of its size and a gigabyte would fill the test's disk
    zeros = {f"{i}.xml": bytes(3_000_000) for i in range(5)}
    path = make_zip(tmp_path / "x", zeros) if kind == "zip" else make_tar(tmp_path / "x", zeros)
    with pytest.raises(UserError, match="200 times its size"):
        unpack(path)
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*")) <= 200 * path.stat().st_size
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    with pytest.raises(UserError, match=r"more than 0.001 GB \(the most that is taken\)"):
        archive.unpack(path, tmp_path / "out")


def test_a_zip_that_lies_about_its_size_is_bounded_as_well(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "x.zip", {"a": bytes(5_000_000)})
    data = path.read_bytes()
    assert data.count(struct.pack("<I", 5_000_000)) == 2
    path.write_bytes(data.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 50)))
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    with pytest.raises(UserError):
        unpack(path)
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*")) <= 1_000_000


def test_a_hundred_gigabytes_of_holes_are_bounded(tmp_path, monkeypatch):
    # A sparse file: a header of 512 bytes stands for 100 GB.
    info = tarfile.TarInfo("big")
    info.size = 512
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000001000\0"  # where its one piece lies, and how long
    header[483:495] = struct.pack(">B3xQ", 0x80, 100 * 10**9)  # its size
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(header) + bytes(512) + bytes(1024))
    monkeypatch.setattr(archive, "MAX_BYTES", 10_000_000)
    with pytest.raises(UserError, match="unpacks to more than"):
        unpack(path)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 10)
    with pytest.raises(UserError, match="more than 10 files"):
        unpack(make_zip(tmp_path / "x.zip", {str(i): b"" for i in range(11)}))


def test_damaged_archives_are_told(tmp_path):
    cut_gz = make_tar(tmp_path / "a", FILES)
    cut_gz.write_bytes(cut_gz.read_bytes()[:-1500])
    changed_zip = make_zip(tmp_path / "b", FILES)
    data = bytearray(changed_zip.read_bytes())
    data[500] ^= 0xFF
    changed_zip.write_bytes(bytes(data))
    cut_tar = make_tar(tmp_path / "c", FILES, "w")
    cut_tar.write_bytes(cut_tar.read_bytes()[:2000])
    for path in (cut_gz, changed_zip, cut_tar):
        (tmp_path / f"{path.name}.out").mkdir()
        with pytest.raises(UserError, match="damaged or encrypted"):
            archive.unpack(path, tmp_path / f"{path.name}.out")


def test_other_files_are_no_archive(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(UserError, match="neither a folder nor"):
        unpack(tmp_path / "x.gz")


def test_a_file_in_the_place_of_a_folder(tmp_path):
    with pytest.raises(UserError, match="a file and a folder of the same name"):
        unpack(make_zip(tmp_path / "x.zip", {"a": b"1", "a/b": b"2"}))
