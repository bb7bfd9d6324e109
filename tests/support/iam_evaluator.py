"""Evaluate requests by IAM policies, Resource and Condition included, with an evaluator from npm.

moto's own honours no Condition. One process decides all requests of a call: starting it takes most of the time.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field

import environments
import external_programs

ACCOUNT = "123456789012"
FOLDER = environments.ROOT / "tests/iam_simulate"


@dataclass(frozen=True)
class Request:
    """What AWS checks: an action on a resource, and the values of condition keys, lists where AWS has lists."""

    action: str
    arn: str
    context: tuple[tuple[str, str | tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, action: str, arn: str, **context: str | tuple[str, ...]) -> Request:
        """A request; keys of the context are given as a dict, since they hold colons."""
        return cls(action, arn, tuple(sorted(context.items())))

    def changed(self, **context: str | tuple[str, ...] | None) -> Request:
        """The same with other values in its context; None takes a key away."""
        merged = {key: value for key, value in (dict(self.context) | context).items() if value is not None}
        return Request.of(self.action, self.arn, **merged)

    def __str__(self) -> str:
        return f"{self.action} on {self.arn}" + (f" with {dict(self.context)}" if self.context else "")


@dataclass
class Question:
    """A request, the policy of who asks, and the bucket's policy where it is about objects."""

    request: Request
    identity: dict
    bucket: dict | None = None


@dataclass
class _Table:
    """Documents, each sent once."""

    documents: list[dict] = field(default_factory=list)
    _positions: dict[str, int] = field(default_factory=dict)

    def position(self, document: dict) -> int:
        key = json.dumps(document, sort_keys=True)
        if key not in self._positions:
            self._positions[key] = len(self.documents)
            self.documents.append(document)
        return self._positions[key]


def allowed(questions: list[Question]) -> list[bool]:
    """Whether each is allowed. A context key that AWS does not have for its action fails the test."""
    node = external_programs.program("node")
    environments.iam_simulate()
    identities, buckets = _Table(), _Table()
    requests = [
        {
            "identity": identities.position(each.identity),
            "resource": None if each.bucket is None else buckets.position(each.bucket),
            "action": each.request.action,
            "arn": each.request.arn,
            "context": dict(each.request.context),
        }
        for each in questions
    ]
    given = {
        "account": ACCOUNT,
        "principal": f"arn:aws:iam::{ACCOUNT}:role/who-asks",
        "identityPolicies": identities.documents,
        "resourcePolicies": buckets.documents,
        "requests": requests,
    }
    # AWS's public parameters are of no account, and the evaluator knows none of them: here they are of another one, in
    # policies and requests alike.
    text = re.sub(r"(arn:aws:ssm:[a-z0-9-]+:)(:parameter/aws/)", r"\g<1>000000000000\2", json.dumps(given))
    done = subprocess.run([node, FOLDER / "evaluate.mjs"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for each, answer in zip(questions, answers, strict=True):
        assert not answer["error"], f"{each.request}: {answer['error']}"
        assert not answer["ignored"], f"{each.request}: AWS has no {answer['ignored']} there"
    return [answer["result"] == "Allowed" for answer in answers]
