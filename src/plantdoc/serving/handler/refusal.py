"""The refusal of a request, with its HTTP status. Standard library alone: AWS Lambda can use it as well."""

from __future__ import annotations


class Refused(Exception):
    """A request that cannot be answered: an HTTP status, a word for programs, and a sentence for people."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def as_json(self) -> dict:
        return {"status": self.status, "code": self.code, "message": self.message}
