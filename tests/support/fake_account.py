"""What an AWS account is set to, for checks that look before anything starts: answered here in moto's place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

# Quotas of SageMaker as Service Quotas lists them: name, code.
ENDPOINT_USAGE = {"ml.c6i.large for endpoint usage": "L-0A1B2C3D", "ml.g5.xlarge for endpoint usage": "L-1A2B3C4D"}
EC2 = "http://ec2.amazonaws.com/doc/2016-11-15"
IAM = "https://iam.amazonaws.com/doc/2010-05-08/"


@dataclass
class Account:
    """A finished account; a test takes away what is to be missing."""

    closed_regions: set[str] = field(default_factory=set)
    disk_key: str = "alias/aws/ebs"
    lacks: set[str] = field(default_factory=set)  # actions that IAM's simulation of policies denies
    linked_roles: set[str] = field(default_factory=lambda: {"AWSServiceRoleForEC2Spot"})
    endpoint_quota: float = 4

    def respond(self, call) -> tuple[str, str] | None:
        """An answer in moto's place, as content type and text; None leaves it to moto."""
        given = call.given
        match call.service, call.action:
            case "ec2", "DescribeRegions" if given.get("RegionName.1") in self.closed_regions:
                about = f"<regionName>{given['RegionName.1']}</regionName><optInStatus>not-opted-in</optInStatus>"
                return _xml("DescribeRegionsResponse", EC2, f"<regionInfo><item>{about}</item></regionInfo>")
            case "ec2", "GetEbsDefaultKmsKeyId":
                return _xml("GetEbsDefaultKmsKeyIdResponse", EC2, f"<kmsKeyId>{escape(self.disk_key)}</kmsKeyId>")
            case "iam", "GetRole" if given["RoleName"] in self.linked_roles:
                name = given["RoleName"]
                about = (
                    f"<RoleName>{name}</RoleName><Path>/aws-service-role/</Path><RoleId>AROA0123456789ABCDEF</RoleId>"
                    f"<Arn>arn:aws:iam::123456789012:role/aws-service-role/{name}</Arn>"
                    "<CreateDate>2026-01-01T00:00:00Z</CreateDate>"
                )
                return _xml("GetRoleResponse", IAM, f"<GetRoleResult><Role>{about}</Role></GetRoleResult>")
            case "iam", "SimulatePrincipalPolicy":
                return self._simulated(given)
            case "servicequotas" | "service-quotas", "ListServiceQuotas":
                rows = [
                    {"ServiceCode": "sagemaker", "QuotaName": name, "QuotaCode": code, "Value": self.endpoint_quota}
                    for name, code in ENDPOINT_USAGE.items()
                ]
                # Two pages, as there are hundreds of them.
                if not given.get("NextToken"):
                    return _json({"Quotas": rows[1:], "NextToken": "2"})
                return _json({"Quotas": rows[:1]})
        return None

    def _simulated(self, given: dict) -> tuple[str, str]:
        actions = [value for key, value in given.items() if key.startswith("ActionNames.member.")]
        members = "".join(
            f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName>"
            f"<EvalDecision>{'implicitDeny' if action in self.lacks else 'allowed'}</EvalDecision></member>"
            for action in actions
        )
        result = f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults>"
        result = f"<SimulatePrincipalPolicyResult>{result}</SimulatePrincipalPolicyResult>"
        return _xml("SimulatePrincipalPolicyResponse", IAM, result)


def _xml(name: str, space: str, content: str) -> tuple[str, str]:
    return "text/xml", f'<{name} xmlns="{space}">{content}</{name}>'


def _json(content: dict) -> tuple[str, str]:
    return "application/x-amz-json-1.1", json.dumps(content)
