"""Lists of files that declare splits: `train: train.txt` in a data.yaml, Darknet's train.txt, VOC's ImageSets/Main."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from plantdoc.fetch import split_names
from plantdoc.fetch.picture_index import PictureIndex, Reference
from plantdoc.fetch.raw_data import Lost
from plantdoc.fetch.source_files import SourceFiles, Unparsable

_OTHER_TASKS = ("layout", "segmentation", "action")  # of Pascal VOC, below ImageSets


@dataclass
class SplitLists:
    """The splits that lists declare.

    `files` are the lists, `missing` the names on them without a picture; `_declared` maps a picture to its splits and,
    for each, the file that declares it. `complete` says that a list of training pictures is there: a picture on no list
    is then in no split, and lost.
    """

    missing: list[Lost] = field(default_factory=list)
    complete: bool = False
    files: list[str] = field(default_factory=list)
    _declared: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, picture: str) -> tuple[str, str, str] | None:
        """A picture's split, the file that declares it, and why it cannot be used or ""; None where no list decides."""
        found = self._declared.get(picture, {})
        if len(found) == 1:
            return next((split, file, "") for split, file in found.items())
        if found:
            return (
                next(iter(found)),
                "",
                f"declared to be in {' and in '.join(f'{s} by {f}' for s, f in found.items())}",
            )
        if self.complete:
            return "train", "", f"on none of the lists {', '.join(self.files)}"
        return None

    def declare(self, picture: str, split: str, file: str) -> None:
        """Note that `file` puts a picture into a split."""
        self._declared.setdefault(picture, {})[split] = file

    def add(self, source: SourceFiles, index: PictureIndex, split: str, file: str) -> bool:
        """Read a list of pictures, a name or path per line; returns whether it names some that are there."""
        try:
            lines = source.text(file).splitlines()
        except Unparsable:
            return False
        # VOC's lists have a second column in some files: -1, 0 or 1.
        names = [line.removesuffix(" 1").removesuffix(" 0").strip() for line in lines if line.strip()]
        references = {name: Reference(file, name) for name in names}
        matches = index.match(references.values())
        found = {name: matches[reference].pictures for name, reference in references.items()}
        if not any(found.values()):
            return False
        for name, pictures in found.items():
            if len(pictures) == 1:
                self.declare(pictures[0], split, file)
            else:
                why = f"may mean {pictures[0]} or {pictures[1]}" if pictures else "is missing"
                self.missing.append(Lost(split, name, f"on the list {file}, but it {why}", missing=True))
        self.files.append(file)
        self.complete |= split == "train"
        return True


def find(source: SourceFiles, index: PictureIndex) -> SplitLists:
    """The lists that are told by their names: train.txt, Validation.txt, ImageSets/Main/val.txt."""
    lists = SplitLists()
    files = {file: split for file in source.with_suffix(".txt") if (split := _of_list(file))}
    for file, split in files.items():
        lists.add(source, index, split, file)
    return lists


def _of_list(file: str) -> str | None:
    path = PurePosixPath(file)
    if not path.stem.isalpha() or path.parent.name.lower() in _OTHER_TASKS:
        return None
    return split_names.of_folder(f"{path.stem}/x")
