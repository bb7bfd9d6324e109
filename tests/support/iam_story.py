"""Hold a policy against the requests of who has it: enough, nothing too much, nothing beyond its Conditions."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path

from iam_evaluator import Question, Request, allowed


@dataclass
class Story:
    """The policy of a role or a person, what they asked AWS for, and the bucket's policy."""

    policy: dict
    requests: list[Request]
    bucket: dict | None = None

    def ask(self, request: Request, policy: dict | None = None) -> Question:
        is_object = request.action.startswith("s3:")
        return Question(request, policy or self.policy, self.bucket if is_object else None)

    def denied(self, requests: list[Request]) -> list[Request]:
        """Those that the policy does not allow."""
        answers = allowed([self.ask(each) for each in requests])
        return [request for request, answer in zip(requests, answers, strict=True) if not answer]


def check(story: Story, unrecorded: dict[str, list[Request]] | None = None) -> None:
    """Assert that all requests are allowed, each action is needed, and each Condition denies what is beyond it.

    Args:
        story: of one role.
        unrecorded: requests that AWS's own services make with this role, by action, where no code of ours asks.
    """
    requests = [*story.requests, *(each for found in (unrecorded or {}).values() for each in found)]
    statements = [each for each in story.policy["Statement"] if each["Effect"] == "Allow"]
    pairs = [
        (statement, request) for statement in statements for request in requests if request.action in listed(statement)
    ]
    alone = [story.ask(request, {"Version": "2012-10-17", "Statement": [statement]}) for statement, request in pairs]
    answers = allowed([*(story.ask(each) for each in requests), *alone])
    refused = [str(request) for request, answer in zip(requests, answers, strict=False) if not answer]
    assert not refused, "the policy does not allow:\n" + "\n".join(refused)
    granted = [pair for pair, answer in zip(pairs, answers[len(requests) :], strict=True) if answer]
    _check_needed(story, requests, statements)
    _check_conditions(story, granted, statements)


def _check_needed(story: Story, requests: list[Request], statements: list[dict]) -> None:
    """Without any one of its actions, something that is done is denied."""
    actions = sorted({action for statement in statements for action in listed(statement)})
    pairs = [(action, request) for action in actions for request in requests if request.action == action]
    answers = allowed([story.ask(request, without(story.policy, action)) for action, request in pairs])
    needed = {action for (action, _), answer in zip(pairs, answers, strict=True) if not answer}
    assert not set(actions) - needed, f"nobody asks for {sorted(set(actions) - needed)}: take them out of the policy"


def _check_conditions(story: Story, granted: list[tuple[dict, Request]], statements: list[dict]) -> None:
    """A request that a statement allowed is denied when one of the statement's condition keys has another value."""
    questions, names = [], []
    for statement in statements:
        for operator, keys in statement.get("Condition", {}).items():
            for key, value in keys.items():
                changed = [
                    request.changed(**{key: other})
                    for from_statement, request in granted
                    if from_statement is statement
                    for other in beyond(operator, value)
                ]
                assert changed, f"no request meets the Condition {operator} {key} of {statement['Sid']}"
                questions += map(story.ask, changed)
                names += [f"{statement['Sid']}: {operator} {key}: {request}" for request in changed]
    passed = [name for name, answer in zip(names, allowed(questions), strict=True) if answer]
    assert not passed, "allowed beyond a Condition:\n" + "\n".join(passed)


def beyond(operator: str, value: object) -> list[str | tuple[str, ...] | None]:
    """Values of a condition key that the Condition is to refuse; None is a request without the key."""
    match operator:
        case "StringEquals" | "StringLike":
            return ["beyond-it", None]
        case "ForAllValues:StringLike":
            return [("beyond-it",)]
        case "NumericLessThanEquals":
            return [str(int(str(value)) + 1)]
        case "Null":
            assert value == "false"
            return [None]
    raise AssertionError(f"{operator}: say here which values are beyond it")


def without(policy: dict, action: str) -> dict:
    """The policy with one action less; a statement that has no other goes."""
    changed = copy.deepcopy(policy)
    for statement in changed["Statement"]:
        if statement["Effect"] == "Allow":
            statement["Action"] = [each for each in listed(statement) if each != action]
    changed["Statement"] = [each for each in changed["Statement"] if each["Action"]]
    return changed


def listed(statement: dict) -> list[str]:
    """Actions of a statement."""
    return [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


def documented(template: Path, holder: str) -> set[str]:
    """Actions of a role or policy whose comment names AWS's documentation: AWS's own services ask for them."""
    text = template.read_text(encoding="utf-8")
    found = re.search(rf"^  {holder}:\n(.*?)(?=^  \S|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, holder
    actions = set()
    for statement in re.split(r"^ *- Sid:", found[1], flags=re.MULTILINE)[1:]:
        if "docs.aws.amazon.com" in statement:
            actions |= set(re.findall(r"\b[a-z0-9-]+:[A-Z]\w+", re.sub(r"#.*", "", statement)))
    return actions
