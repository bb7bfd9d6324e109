"""The audit of single pictures: read, decoded, turned upright, stored as RGB, hashed, boxes cleaned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from plantdoc.core import parallel
from plantdoc.fetch import boxes, decode, phash
from plantdoc.fetch.raw_data import Lost, RawPicture


@dataclass(frozen=True)
class Audited:
    """A picture that passed.

    `file` is the one with the bytes to keep, of type `kind` ("JPEG" or "PNG") and `width` × `height` pixels; `boxes`
    and `crowds` are (xywh, class name); `content` is the SHA-256 of the source's bytes, `pixels` that of the upright
    RGB pixels, `looks` the perceptual hash; `repairs` and `dropped_boxes` say what was done, one text each.
    """

    split: str
    name: str
    file: Path
    kind: str
    width: int
    height: int
    boxes: tuple[boxes.Labelled, ...]
    crowds: tuple[boxes.Labelled, ...]
    content: str
    pixels: str
    looks: bytes
    repairs: tuple[str, ...]
    dropped_boxes: tuple[str, ...]


def audit(
    pictures: Iterable[RawPicture], folder: Path, min_box: int, max_pixels: int
) -> tuple[list[Audited | Lost], list[str]]:
    """Audit pictures in parallel, one per process in memory at a time.

    Returns:
        The results in the order of `pictures`, and the SHA-256 of each picture's bytes, "" where it cannot be read.

    Args:
        pictures: what to read.
        folder: where the bytes to keep are written, one file per picture.
        min_box: px; smaller boxes are dropped.
        max_pixels: larger pictures are lost, undecoded.
    """
    pictures = list(pictures)
    jobs = [(raw, folder / f"{i:08d}") for i, raw in enumerate(pictures)]
    work = partial(_audit_one, min_box=min_box, max_pixels=max_pixels)
    workers = min(parallel.cores(), 1 + len(jobs) // 64)
    with_hashes = tqdm(
        parallel.imap(work, jobs, workers), total=len(jobs), desc="audit", unit="picture", dynamic_ncols=True
    )
    results, hashes = zip(*with_hashes, strict=True) if jobs else ((), ())
    return list(results), list(hashes)


def _audit_one(job: tuple[RawPicture, Path], min_box: int, max_pixels: int) -> tuple[Audited | Lost, str]:
    raw, to = job
    try:
        data = raw.path.read_bytes()
    except OSError as error:
        return Lost(raw.split, raw.name, f"cannot be read: {error.strerror}", len(raw.boxes)), ""
    content = hashlib.sha256(data).hexdigest()
    return _audited(raw, data, content, to, min_box, max_pixels), content


def _audited(raw: RawPicture, data: bytes, content: str, to: Path, min_box: int, max_pixels: int) -> Audited | Lost:
    try:
        decoded = decode.decode(data, max_pixels)
    except decode.PictureError as error:
        return Lost(raw.split, raw.name, str(error), len(raw.boxes))
    cleaned = boxes.clean(raw, decoded.stored_size, decoded.orientation, min_box)
    if raw.boxes and not cleaned.boxes:
        # Not a negative: somebody saw a leaf here.
        why = cleaned.dropped[0] if cleaned.dropped else "regions of many leaves (iscrowd) alone"
        return Lost(raw.split, raw.name, f"none of its boxes can be used: {why}", len(raw.boxes))
    keep, kind = decode.to_stored_form(decoded, data)
    to.write_bytes(keep)
    image = decoded.image
    repairs = (*decoded.repairs, *cleaned.repairs)
    if decode.right_name(raw.name, kind) != raw.name and decoded.format == kind:
        repairs += (f"name does not say {kind}",)
    return Audited(
        split=raw.split,
        name=raw.name,
        file=to,
        kind=kind,
        width=image.width,
        height=image.height,
        boxes=cleaned.boxes,
        crowds=cleaned.crowds,
        content=content,
        pixels=hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest(),
        looks=phash.of_image(image),
        repairs=repairs,
        dropped_boxes=cleaned.dropped,
    )
