"""Files of a source: which are there, which are pictures, and which cannot be read."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from plantdoc.decoder import file_kind
from plantdoc.fetch import text
from plantdoc.fetch.decode import SUFFIXES

_HEAD = 64  # bytes; enough to tell a picture or a record
# Masks for segmentation in Pascal VOC's own layout: pictures, but none to train on.
_MASKS = frozenset(("segmentationclass", "segmentationobject"))


class Unparsable(Exception):
    """A file is not what its suffix says; the text tells where it breaks."""


@dataclass
class SourceFiles:
    """The readable files of a source as sorted POSIX paths relative to `folder`, and the reasons for the others.

    `scratch` is an empty folder for pictures that do not lie in files of their own;
    `pictures` are those that are pictures by suffix or by content; `unreadable` maps a path to why it cannot be read;
    `guessed` maps a text file that names no encoding to the one that it was read in.
    """

    folder: Path
    scratch: Path
    names: list[str]
    pictures: list[str]
    heads: dict[str, bytes]
    unreadable: dict[str, str]
    guessed: dict[str, str] = field(default_factory=dict)
    _json: dict[str, object] = field(default_factory=dict)

    def with_suffix(self, *suffixes: str) -> list[str]:
        """The files of these suffixes, in any case."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    def text(self, name: str, declared: str = "") -> str:
        """The content of a text file; a guessed encoding is entered in `guessed`.

        Raises:
            Unparsable: it cannot be read.
        """
        content, guess = text.decode(self.bytes(name), declared)
        if guess:
            self.guessed[name] = guess
        return content

    def bytes(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            Unparsable: it cannot be read.
        """
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise Unparsable(f"cannot be read: {error.strerror}") from None

    def json(self, name: str) -> object:
        """The content of a JSON file, parsed once.

        Raises:
            Unparsable: it is not JSON.
        """
        if name not in self._json:
            try:
                self._json[name] = json.loads(self.text(name))
            except json.JSONDecodeError as error:
                self._json[name] = Unparsable(f"not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}")
            except (ValueError, RecursionError) as error:
                self._json[name] = Unparsable(f"not valid JSON: {error}")
            except Unparsable as error:
                self._json[name] = error
        found = self._json[name]
        if isinstance(found, Unparsable):
            raise found
        return found

    def yaml(self, name: str) -> object:
        """The content of a YAML file.

        Raises:
            Unparsable: it is not YAML.
        """
        try:
            return YAML(typ="safe", pure=True).load(self.text(name))
        except MarkedYAMLError as error:
            at = (
                f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: "
                if error.problem_mark
                else ""
            )
            raise Unparsable(f"not valid YAML: {at}{error.problem}") from None
        except (YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
            raise Unparsable(f"not valid YAML: {' '.join(str(error).split())}") from None


def collect(folder: Path, scratch: Path) -> SourceFiles:
    """List all files below `folder`; hidden files and what macOS adds to archives are left out.

    Links are followed, but not into folders that are listed already. Each file's first bytes are read, so that what
    cannot be opened is known.
    """
    names, unreadable, seen = [], {}, set()

    def refused(error: OSError) -> None:
        unreadable[_relative(folder, Path(error.filename))] = f"cannot be read: {error.strerror}"

    for path, folders, files in os.walk(folder, followlinks=True, onerror=refused):
        seen.add(os.path.realpath(path))
        folders[:] = [
            f
            for f in sorted(folders)
            if not f.startswith(".") and f != "__MACOSX" and os.path.realpath(os.path.join(path, f)) not in seen
        ]
        names += [_relative(folder, Path(path) / name) for name in files if not name.startswith(".")]
    heads = {}
    for name in sorted(names):
        try:
            heads[name] = _head(folder / name)
        except OSError as error:
            unreadable[name] = f"cannot be read: {error.strerror}"
    pictures = [name for name, head in heads.items() if _is_picture(name, head)]
    return SourceFiles(folder, scratch, list(heads), pictures, heads, unreadable)


def is_picture_name(name: str) -> bool:
    """Whether a file name has a suffix of pictures, maybe before the tail of a URL: `b.jpg`, `b.jpg?w=640`."""
    head, _, tail = name.partition("?")
    return PurePosixPath(name if "." in tail else head).suffix.lower() in SUFFIXES


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _head(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its other end
        raise OSError(0, "not a regular file")
    with open(path, "rb") as stream:
        return stream.read(_HEAD)


def _is_picture(name: str, head: bytes) -> bool:
    if any(part.lower() in _MASKS for part in PurePosixPath(name).parts[:-1]):
        return False
    return is_picture_name(name) or file_kind.of(head) is not None
