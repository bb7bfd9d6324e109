"""The last line of a program's output, which says why it failed."""

from __future__ import annotations

import codecs
import re

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]")
_LONGEST = 4096  # characters of a line that are kept


class LastLine:
    """Takes the output in pieces; `text` is the last line that is not blank."""

    def __init__(self) -> None:
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def feed(self, output: bytes) -> None:
        *lines, last = re.split(r"[\r\n]", self._open + self._decoder.decode(output))
        self._open = last[-_LONGEST:]
        shown = (_CONTROL.sub("", line[-_LONGEST:]).strip() for line in reversed(lines))
        self.text = next(filter(None, shown), self.text)

    def close(self) -> None:
        """Take the output's end for the end of its last line."""
        self.feed(b"\n")
