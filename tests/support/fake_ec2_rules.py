"""Where moto's EC2 is laxer than AWS's: what is refused here, and what is answered in moto's place."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from plantdoc.ec2 import quotas

IMAGE_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
IMAGE_GB = 75
USER_DATA = 16384
# Dollars per hour, on demand and on the spot market.
PRICES = {"g4dn.xlarge": (0.658, 0.24), "g5.xlarge": (1.258, 0.47), "t3.micro": (0.012, 0.0045)}
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
RUNNING, PENDING = r"<code>16</code>\s*<name>running</name>", "<code>0</code><name>pending</name>"
ALIVE = ("pending", "running", "shutting-down", "stopping")


class Refused(Exception):
    """What AWS answers instead: an error code and a text."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass
class Rules:
    """What one region allows: capacity, quotas in vCPUs, prices, and how late EC2's API knows a new instance."""

    region: str
    full: list[tuple[str | None, str | None, str | None]] = field(default_factory=list)
    quotas: dict[str, float] = field(default_factory=lambda: dict.fromkeys(quotas.every_code(), 64.0))
    prices: dict[str, tuple[float, float]] = field(default_factory=lambda: dict(PRICES))
    image: str = ""
    lag: float = 0.0  # seconds for which a new instance is neither described nor terminated
    begins: str = "running"  # the state a new instance is described in; a hypervisor says "pending"
    _tokens: dict[str, tuple[dict, str, list[str]]] = field(default_factory=dict)
    _born: dict[str, float] = field(default_factory=dict)

    def publish_images(self, backend) -> None:
        """The image that the SSM parameter of AWS's deep learning images names."""
        image = backend.register_image("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)", "as AWS's")
        image.root_device_name, image.architecture = "/dev/sda1", "x86_64"
        self.image = image.id

    def respond(self, call, backend) -> tuple[str, str] | None:
        """An answer in moto's place, as content type and text; None leaves it to moto. Raises Refused."""
        given = call.given
        match call.service, call.action:
            case "ec2", "RunInstances":
                return self._repeated(given, backend) or self._check_launch(given, backend)
            case "ec2", "DescribeInstances" | "TerminateInstances":  # which ends none of them then
                young = [id for id in _listed(given, "InstanceId") if self._unseen(id)]
                if young:
                    text = f"The instance ID '{young[0]}' does not exist"
                    raise Refused("InvalidInstanceID.NotFound", text)
            case "ec2", "DescribeSpotPriceHistory":
                return "text/xml", self._spot_history(given)
            case "ssm", "GetParameter" if given["Name"] == IMAGE_PARAMETER:
                return _json({"Parameter": self._parameter()})
            case "ssm", "GetParameters" if given["Names"] == [IMAGE_PARAMETER]:
                return _json({"Parameters": [self._parameter()], "InvalidParameters": []})
            case "servicequotas" | "service-quotas", "GetServiceQuota" | "GetAWSDefaultServiceQuota":
                code = given["QuotaCode"]
                if given["ServiceCode"] != "ec2" or code not in self.quotas:
                    raise Refused("NoSuchResourceException", f"no quota {code}")
                value = self.quotas[code] if call.action == "GetServiceQuota" else 0.0
                return _json({"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "Value": value, "Unit": "None"}})
            case "pricing", "GetProducts":
                return _json({"FormatVersion": "aws_v1", "PriceList": self._products(given)})
        return None

    def completed(self, call, backend) -> dict:
        """The request with the zone that AWS would choose, where it names none."""
        if call.service != "ec2" or call.action != "RunInstances" or _zone(call.given, backend):
            return call.given
        return call.given | {"Placement.AvailabilityZone": self._free_zones(call.given)[0]}

    def after(self, call, status: str, answer: bytes, backend) -> tuple[bytes, tuple[str, list[str]] | None]:
        """moto's answer as AWS's would be, and what happened to which instances."""
        if call.service != "ec2" or not status.startswith("200"):
            return answer, None
        if call.action == "RunInstances":
            ids = re.findall(r"<instanceId>(i-\w+)</instanceId>", answer.decode())
            self._born |= dict.fromkeys(ids, time.monotonic())
            for id in ids if self.begins == "pending" else ():
                state = backend.get_instance(id)._state
                state.name, state.code = "pending", 0
            text = re.sub(
                r"<code>16</code>\s*<name>running</name>", "<code>0</code><name>pending</name>", answer.decode()
            )
            if token := call.given.get("ClientToken"):
                self._tokens[token] = (call.given, text, ids)
            return text.encode(), ("run", ids)
        if call.action == "TerminateInstances":
            return answer, ("terminate", _listed(call.given, "InstanceId"))
        if call.action == "DescribeInstances" and self.lag and not _listed(call.given, "InstanceId"):
            return self._without_young(answer), None
        return answer, None

    def _repeated(self, given: dict, backend) -> tuple[str, str] | None:
        token = given.get("ClientToken", "")
        if len(token) > 64 or not token.isascii():
            raise Refused("InvalidParameterValue", "ClientToken: at most 64 ASCII characters")
        if token not in self._tokens:
            return None
        earlier, text, ids = self._tokens[token]
        if earlier != given:
            raise Refused(
                "IdempotentParameterMismatch",
                f"The client token you have provided is associated with a resource that was requested with other "
                f"parameters: {sorted(k for k in earlier | given if earlier.get(k) != given.get(k))}",
            )
        state = backend.get_instance(ids[0])._state
        now = f"<code>{state.code}</code><name>{state.name}</name>"
        return "text/xml", text.replace(PENDING, now)

    def _check_launch(self, given: dict, backend) -> None:
        kind, zone, market = given.get("InstanceType", "m1.small"), _zone(given, backend), _market(given)
        if kind not in INSTANCE_TYPES:
            raise Refused("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
        if given.get("ImageId") not in {image.id for image in backend.describe_images()}:
            raise Refused("InvalidAMIID.NotFound", f"The image id '[{given.get('ImageId')}]' does not exist")
        if len(base64.b64decode(given.get("UserData", ""))) > USER_DATA:
            raise Refused("InvalidParameterValue", f"User data is limited to {USER_DATA} bytes")
        disk = given.get("BlockDeviceMapping.1.Ebs.VolumeSize")
        if given["ImageId"] == self.image and disk and int(disk) < IMAGE_GB:
            text = f"Volume of size {disk}GB is smaller than snapshot, expect size >= {IMAGE_GB}GB"
            raise Refused("InvalidBlockDeviceMapping", text)
        if market == "spot" and given.get("InstanceInitiatedShutdownBehavior", "terminate") != "terminate":
            raise Refused("InvalidParameterCombination", "a one-time spot instance can only be terminated")
        offered = self._zones(kind)
        if zone and zone not in offered:
            text = f"Your requested instance type ({kind}) is not supported in your requested Availability Zone"
            raise Refused("Unsupported", f"{text} ({zone}).")
        self._check_quota(kind, market, backend)
        if not self._free_zones(given, zone):
            text = f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested"
            raise Refused("InsufficientInstanceCapacity", f"{text} ({zone or 'any'}).")

    def _check_quota(self, kind: str, market: str, backend) -> None:
        code = quotas.shared_by(kind, market == "spot")
        alive = [each for each in backend.all_instances() if each._state.name in ALIVE]
        used = sum(
            _vcpus(each.instance_type)
            for each in alive
            if code == quotas.shared_by(each.instance_type, each.lifecycle == "spot")
        )
        if used + _vcpus(kind) > (limit := self.quotas.get(code, 64.0)):
            if market == "spot":
                raise Refused("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
            text = f"You have requested more vCPU capacity than your current vCPU limit of {limit:g} allows"
            raise Refused("VcpuLimitExceeded", f"{text} for the instance bucket that {kind} belongs to.")

    def _zones(self, kind: str) -> list[str]:
        offers = INSTANCE_TYPE_OFFERINGS["availability-zone"][self.region]
        return sorted({offer["Location"] for offer in offers if offer["InstanceType"] == kind})

    def _free_zones(self, given: dict, zone: str | None = None) -> list[str]:
        """Zones of the request, one or all of them, with capacity."""
        kind, market = given.get("InstanceType", "m1.small"), _market(given)

        def is_free(place: str) -> bool:
            wanted = (kind, place, market)
            return not any(all(a in (None, b) for a, b in zip(rule, wanted, strict=True)) for rule in self.full)

        return [place for place in ([zone] if zone else self._zones(kind)) if is_free(place)]

    def _unseen(self, id: str) -> bool:
        return time.monotonic() - self._born.get(id, -1e9) < self.lag

    def _without_young(self, answer: bytes) -> bytes:
        ElementTree.register_namespace("", NAMESPACE)
        tree, space = ElementTree.fromstring(answer), f"{{{NAMESPACE}}}"
        for instances in tree.iter(f"{space}instancesSet"):
            for item in list(instances):
                if self._unseen(item.findtext(f"{space}instanceId")):
                    instances.remove(item)
        return ElementTree.tostring(tree)

    def _parameter(self) -> dict:
        return {"Name": IMAGE_PARAMETER, "Type": "String", "Value": self.image, "Version": 1}

    def _spot_history(self, given: dict) -> str:
        kinds = _listed(given, "InstanceType") or list(self.prices)
        filters = _filters(given)
        zone = given.get("AvailabilityZone") or filters.get("availability-zone")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        items = "".join(
            f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{self._price(kind)[1]:.6f}</spotPrice><timestamp>{now}</timestamp>"
            f"<availabilityZone>{escape(place)}</availabilityZone></item>"
            for kind in kinds
            for place in self._zones(kind)
            if not zone or place in zone
        )
        history = f"<spotPriceHistorySet>{items}</spotPriceHistorySet>"
        return f'<DescribeSpotPriceHistoryResponse xmlns="{NAMESPACE}">{history}</DescribeSpotPriceHistoryResponse>'

    def _products(self, given: dict) -> list[str]:
        wanted = {each["Field"]: each["Value"] for each in given.get("Filters", ())}
        kind = wanted.get("instanceType", "")
        if kind not in INSTANCE_TYPES:
            return []
        price = {"unit": "Hrs", "pricePerUnit": {"USD": f"{self._price(kind)[0]:.10f}"}, "beginRange": "0"}
        attributes = wanted | {"regionCode": self.region}
        product = {"productFamily": "Compute Instance", "attributes": attributes, "sku": "SKU"}
        terms = {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": price}, "sku": "SKU"}}}
        return [json.dumps({"product": product, "serviceCode": "AmazonEC2", "terms": terms})]

    def _price(self, kind: str) -> tuple[float, float]:
        return self.prices.get(kind, (1.0, 0.4))


def _vcpus(kind: str) -> int:
    return INSTANCE_TYPES[kind]["VCpuInfo"]["DefaultVCpus"]


def _market(given: dict) -> str:
    return "spot" if given.get("InstanceMarketOptions.MarketType") == "spot" else "on-demand"


def _zone(given: dict, backend) -> str | None:
    subnet = given.get("SubnetId") or given.get("NetworkInterface.1.SubnetId")
    if subnet:
        return backend.get_subnet(subnet).availability_zone
    return given.get("Placement.AvailabilityZone")


def _listed(given: dict, name: str) -> list[str]:
    return [value for key, value in given.items() if re.fullmatch(rf"{name}\.\d+", key)]


def _filters(given: dict) -> dict[str, list[str]]:
    names = {key.split(".")[1]: value for key, value in given.items() if re.fullmatch(r"Filter\.\d+\.Name", key)}
    return {name: [v for k, v in given.items() if k.startswith(f"Filter.{n}.Value.")] for n, name in names.items()}


def _json(content: dict) -> tuple[str, str]:
    return "application/x-amz-json-1.1", json.dumps(content)
