"""Policies of a CloudFormation template as IAM gets them: references, parameters and conditions are resolved."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfnlint.decode import decode

PARTITION = "aws"


@dataclass
class Stack:
    """A template with its parameters. `physical` has the names that AWS chose, by logical name; else a made-up one."""

    template: Path
    name: str
    region: str
    account: str
    given: dict[str, str] = field(default_factory=dict)
    physical: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found, faults = decode(str(self.template))
        assert not faults, faults
        self._template: dict[str, Any] = found
        self.parameters: dict[str, Any] = {}
        for name, about in found.get("Parameters", {}).items():
            value = self.given.get(name, about.get("Default"))
            is_list = about["Type"] == "CommaDelimitedList" and value is not None
            self.parameters[name] = str(value).split(",") if is_list else value

    def resource(self, name: str) -> dict:
        """A resource's properties, resolved."""
        return self._resolved(self._template["Resources"][name]["Properties"])

    def policy(self, holder: str) -> dict:
        """All that a role or a managed policy allows, as one document; a role's managed policies are part of it."""
        about = self._template["Resources"][holder]["Properties"]
        if "PolicyDocument" in about:
            return self._resolved(about["PolicyDocument"])
        documents = [self._resolved(each["PolicyDocument"]) for each in about.get("Policies", ())]
        documents += [self.policy(each["Ref"]) for each in about.get("ManagedPolicyArns", ())]
        statements = [statement for document in documents for statement in document["Statement"]]
        return {"Version": "2012-10-17", "Statement": statements}

    def arn(self, name: str) -> str:
        """ARN of a resource."""
        kind, physical = self._template["Resources"][name]["Type"], self._physical(name)
        iam = {"AWS::IAM::Role": "role", "AWS::IAM::ManagedPolicy": "policy", "AWS::IAM::InstanceProfile": "profile"}
        if kind in iam:
            return f"arn:{PARTITION}:iam::{self.account}:{iam[kind]}/{physical}"
        if kind == "AWS::S3::Bucket":
            return f"arn:{PARTITION}:s3:::{physical}"
        if kind == "AWS::Logs::LogGroup":
            return f"arn:{PARTITION}:logs:{self.region}:{self.account}:log-group:{physical}:*"
        return f"arn:{PARTITION}:any:{self.region}:{self.account}:{name}/{physical}"

    def _physical(self, name: str) -> str:
        about = self._template["Resources"][name]
        if about["Type"] == "AWS::S3::Bucket":
            return self._resolved(about["Properties"]["BucketName"])
        return self.physical.get(name, f"{self.name}-{name}")

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key in self._functions:
                return self._functions[key](inner)
        return {key: self._resolved(each) for key, each in value.items()}

    @property
    def _functions(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "Ref": self._ref,
            "Fn::Sub": lambda text: re.sub(r"\$\{([^}]+)\}", lambda found: str(self._named(found[1])), text),
            "Fn::GetAtt": lambda place: self._attribute(*(place if isinstance(place, list) else place.split("."))),
            "Fn::If": lambda parts: self._resolved(parts[1 if self._holds(parts[0]) else 2]),
            "Fn::Join": lambda parts: parts[0].join(self._resolved(parts[1])),
        }

    def _named(self, name: str) -> Any:
        return self._attribute(*name.split(".")) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        pseudo = {"Partition": PARTITION, "Region": self.region, "AccountId": self.account, "StackName": self.name}
        if name.startswith("AWS::"):
            return pseudo[name.removeprefix("AWS::")]
        return self.parameters[name] if name in self.parameters else self._physical(name)

    def _attribute(self, name: str, attribute: str) -> str:
        assert attribute == "Arn", (name, attribute)
        return self.arn(name)

    def _holds(self, condition: str) -> bool:
        return self._true(self._template["Conditions"][condition])

    def _true(self, value: dict) -> bool:
        ((key, inner),) = value.items()
        match key:
            case "Condition":
                return self._holds(inner)
            case "Fn::Not":
                return not self._true(inner[0])
            case "Fn::And":
                return all(map(self._true, inner))
            case "Fn::Equals":
                left, right = map(self._resolved, inner)
                return left == right
        raise AssertionError(f"{key}: not a function that these templates use")
