"""Splits by the names of folders and of annotation files; lists of files are in split_lists."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# What may stand beside the split in the name of a folder. With other words it is a name: `test strips` is no split.
# fmt: off
_BESIDE = frozenset((
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpg", "jpeg", "png", "jpegimages",
    "label", "labels", "lbl", "lbls", "annotation", "annotations", "anns", "ann", "xml", "xmls", "txt", "json", "csv",
    "box", "boxes", "bbox", "set", "data", "dataset", "ds", "split", "coco", "voc", "yolo", "obj",
))
# fmt: on
_LONGEST = sorted(_SPLITS, key=len, reverse=True)
_WORD = re.compile(r"[^\W\d_]+")


def of_folder(path: str) -> str | None:
    """The split by which the innermost folder of a path is called (`TRAIN/x.jpg`, `images/val2017/x.jpg`), or None."""
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        if split := _of_name(folder):
            return split
    return None


def of_annotations(path: str) -> str | None:
    """The split of a file with annotations of many pictures: by a word of its name, else by its folders, or None."""
    found = {_SPLITS[word] for word in _words(PurePosixPath(path).stem) if word in _SPLITS}
    return found.pop() if len(found) == 1 else of_folder(path)


def _of_name(folder: str) -> str | None:
    # `tEsT` is one word in odd case, `trainImages` are two: as one word first.
    for name in (folder, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", folder)):
        words = _words(name)
        found = {_SPLITS[word] for word in words if word in _SPLITS}
        if len(found) == 1 and all(word in _SPLITS or word in _BESIDE for word in words):
            return found.pop()
    return None


def _words(name: str) -> list[str]:
    """The words of a name in lower case; `trainset` counts as two."""
    words = []
    for run in _WORD.findall(name.lower()):
        whole = next((word for word in _LONGEST if run.startswith(word) and run[len(word) :] in _BESIDE), None)
        words += [whole, run[len(whole) :]] if whole else [run]
    return words
