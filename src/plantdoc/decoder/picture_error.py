"""The reason why a picture cannot be used."""

from __future__ import annotations


class PictureError(Exception):
    """A picture that cannot be used: a word for programs, and the reason in a text for people."""

    def __init__(self, code: str, reason: str):
        super().__init__(reason)
        self.code = code


def damaged(kind: str) -> PictureError:
    """The reason for whatever is wrong inside of a file, wherever it shows."""
    return PictureError("damaged", f"damaged: the {kind} is cut short or holds wrong bytes")
