"""The refusal of a request, with its HTTP status. Standard library alone: AWS Lambda can use it as well."""

from __future__ import annotations


class Refused(Exception):
    """A request that cannot be answered: an HTTP status, a word for programs, and a sentence for people."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def as_json(self) -> dict:
        return {"status": self.status, "code": self.code, "message": self.message}


def too_long(limit: int) -> Refused:
    """Refusal of a body of more than `limit` bytes."""
    return Refused(413, "too_long", f"the body is larger than {limit / 1e6:g} MB: send fewer or smaller pictures")


def too_many(most: int) -> Refused:
    """Refusal of more pictures than are answered at once."""
    return Refused(413, "too_many_pictures", f"more than {most} pictures: send them in several requests")
