"""Where moto's SageMaker is laxer than AWS's: what is refused here, what is answered in moto's place, and endpoints
that answer by a container started from the bundle that was uploaded.

An endpoint's state moves on with each look at it, so that nothing depends on the clock.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import container_lib
from fake_ec2_rules import Refused
from fake_sagemaker_refusals import Quotas, cold, error, oversize
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.sagemaker.models import FakeEndpoint, sagemaker_backends

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
MEMORY = {1024 * n for n in range(1, 7)}
LARGEST = {True: 4 * 1024**2, False: 25 * 10**6}  # bytes of a request to a serverless endpoint, and to another
LOOKS = 2  # at an endpoint until what is under way is done
CONTAINER = Path(__file__).with_name("fake_sagemaker_container.py")


@dataclass
class Container:
    """A running container and the port it answers on."""

    process: subprocess.Popen
    port: int
    folder: str

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder)


@dataclass
class Change:
    """What is under way on an endpoint: which config it is to have, and for how many looks still."""

    status: str
    config: str | None
    left: int
    alarms: list[str] = field(default_factory=list)


@dataclass
class SageMaker:
    """One region's endpoints. `unavailable`: how many requests to them are turned away with a 503; `limit`: how many
    endpoints the account may have; `quotas`: what else it may have; `broken`: configs whose machines do not come up;
    `no_capacity`: how many configs that are about to start find no machine; `cold`: answers (keys of COLD) that each
    config gives, after it was put into service, before its first; `later`: answers that follow these, where "answer"
    stands for a right one; `frozen`: nothing that is under way gets on."""

    region: str
    limit: int = 10
    quotas: Quotas = field(default_factory=Quotas)
    no_capacity: int = 0
    cold: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    unavailable: int = 0
    frozen: bool = False
    before_the_end: Callable[[], None] | None = None  # called once, when the machines of an update are up
    broken: set[str] = field(default_factory=set)
    python: str = sys.executable
    _alarms: dict[str, str] = field(default_factory=dict)
    _under_way: dict[str, Change] = field(default_factory=dict)
    _containers: dict[str, Container] = field(default_factory=dict)
    _asleep: dict[str, list[str]] = field(default_factory=dict)  # cold answers that are left, by endpoint

    @property
    def backend(self):
        return sagemaker_backends[DEFAULT_ACCOUNT_ID][self.region]

    @property
    def alarms(self) -> dict:
        """CloudWatch's, by name."""
        return cloudwatch_backends[DEFAULT_ACCOUNT_ID][self.region].alarms

    def renew(self) -> None:
        """Forget what tests have set; containers run on, for the next that asks for the same."""
        self._under_way.clear()
        self.broken.clear()
        self._asleep.clear()
        self.limit, self.unavailable, self.frozen = 10, 0, False
        self.quotas, self.no_capacity, self.cold, self.later = Quotas(), 0, (), ()
        self.before_the_end = None

    def stop(self) -> None:
        """End all containers."""
        while self._containers:
            self._containers.popitem()[1].stop()

    # What moto is asked, before it is.

    def respond(self, call) -> tuple[str, str] | None:
        """An answer in moto's place, as content type and text; None leaves it to moto. Raises Refused."""
        if call.service == "application-autoscaling" and call.action == "RegisterScalableTarget":
            self._check_target(call.given)
        if call.action == "PutMetricAlarm":
            self._alarms = {name: alarm.state_value for name, alarm in self.alarms.items()}
        if call.service != "sagemaker":
            return None
        actions = {
            "CreateModel": self._check_model,
            "CreateEndpointConfig": self._create_config,
            "CreateEndpoint": self._create,
            "UpdateEndpoint": self._update,
            "DescribeEndpoint": self._describe,
            "DeleteEndpoint": self._delete,
            "DeleteEndpointConfig": self._check_config_unused,
            "DeleteModel": self._check_model_unused,
            "AddTags": self._add_tags,
        }
        return actions[call.action](call.given) if call.action in actions else None

    def after(self, call, status: str, answer: bytes) -> bytes:
        """moto's answer as AWS's would be."""
        if call.service == "application-autoscaling" and call.action == "DeregisterScalableTarget":
            self._forget_policies(call.given)
        if call.action == "PutMetricAlarm":
            # Changing an alarm leaves it on or off; moto's is made again.
            for name, state in self._alarms.items():
                self.alarms[name].state_value = state
        if call.service == "sagemaker" and call.action == "DescribeModel" and status.startswith("200"):
            # AWS leaves out what was not said; the SDK stumbles over empty ones.
            said = {key: value for key, value in json.loads(answer).items() if value not in ({}, [])}
            return json.dumps(said).encode()
        return answer

    def _check_new(self, name: str, known: dict, what: str) -> None:
        if not NAME.fullmatch(name):
            raise _invalid(f"1 validation error detected: Value '{name}' failed to satisfy constraint")
        if name in known:
            raise _invalid(f'Cannot create already existing {what} "{name}".')

    def _check_model(self, given: dict) -> None:
        self._check_new(given["ModelName"], self.backend._models, "model")
        container = given["PrimaryContainer"]
        if not re.match(r"arn:aws:iam::\d{12}:role/", given.get("ExecutionRoleArn", "")):
            raise _invalid("the role is no ARN")
        if not re.fullmatch(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[a-z-]+:[\w.-]+", container["Image"]):
            raise _invalid(f"no such image: {container['Image']}")
        if f".{self.region}." not in container["Image"]:
            raise _invalid("the image is of another region")
        if self._bundle(container["ModelDataUrl"]) is None:
            raise _invalid(f"Could not find model data at {container['ModelDataUrl']}.")

    def _check_model_unused(self, given: dict) -> None:
        name = given["ModelName"]
        for config in self.backend.endpoint_configs.values():
            if any(each["ModelName"] == name for each in config.production_variants):
                raise _invalid(f'Cannot delete model "{name}": in use by {config.endpoint_config_name}')

    def _check_config_unused(self, given: dict) -> None:
        name = given["EndpointConfigName"]
        if users := [e.endpoint_name for e in self.backend.endpoints.values() if name in self._configs_of(e)]:
            raise _invalid(f'Cannot delete endpoint config "{name}": in use by {users[0]}')

    def _create_config(self, given: dict) -> tuple[str, str]:
        """As moto would, if it knew instance types of these years."""
        self._check_new(given["EndpointConfigName"], self.backend.endpoint_configs, "endpoint config")
        self._check_config(given)
        variants = given["ProductionVariants"]
        known = [each | {"InstanceType": "ml.c5.large"} if "InstanceType" in each else each for each in variants]
        made = self.backend.create_endpoint_config(
            given["EndpointConfigName"], known, given.get("DataCaptureConfig"), None, given.get("Tags", []), None
        )
        made.production_variants = variants
        return _json({"EndpointConfigArn": made.endpoint_config_arn})

    def _check_config(self, given: dict) -> None:
        (variant,) = given["ProductionVariants"]
        if variant["ModelName"] not in self.backend._models:
            raise _invalid(f'Could not find model "{variant["ModelName"]}".')
        if serverless := variant.get("ServerlessConfig"):
            if serverless["MemorySizeInMB"] not in MEMORY or not 1 <= serverless["MaxConcurrency"] <= 200:
                raise _invalid(f"no such serverless config: {serverless}")
            if "InstanceType" in variant or given.get("DataCaptureConfig", {}).get("EnableCapture"):
                raise _invalid("not for serverless endpoints: an instance type, data capture")
        elif not re.fullmatch(r"ml\.[a-z0-9]+\.[a-z0-9]+", variant.get("InstanceType", "")):
            raise _invalid(f"no such instance type: {variant.get('InstanceType')}")
        elif variant.get("InitialInstanceCount", 0) < 1:
            raise _invalid("InitialInstanceCount is missing")

    def _check_target(self, given: dict) -> None:
        found = re.fullmatch(r"endpoint/([^/]+)/variant/([^/]+)", given["ResourceId"])
        endpoint = self.backend.endpoints.get(found[1]) if found else None
        if not endpoint or self._is_serverless(endpoint.endpoint_config_name):
            raise Refused("ValidationException", f"no machines to scale: {given['ResourceId']}")
        if endpoint.endpoint_status != "InService":
            raise Refused("ValidationException", f"{found[1]} is {endpoint.endpoint_status}")

    def _forget_policies(self, given: dict) -> None:
        """On AWS they go with the target."""
        backend = applicationautoscaling_backends[DEFAULT_ACCOUNT_ID][self.region]
        gone = [key for key, each in backend.policies.items() if each.resource_id == given["ResourceId"]]
        for key in gone:
            del backend.policies[key]

    def _add_tags(self, given: dict) -> tuple[str, str]:
        """A tag of the same key takes the earlier one's place, which moto keeps beside it."""
        resource = self.backend._get_resource_from_arn(given["ResourceArn"])
        tags = resource.tags if hasattr(resource, "tags") else resource
        new = {tag["Key"] for tag in given["Tags"]}
        tags[:] = [tag for tag in tags if tag["Key"] not in new] + given["Tags"]
        return _json({"Tags": given["Tags"]})

    # Endpoints.

    def _create(self, given: dict) -> tuple[str, str]:
        name = given["EndpointName"]
        self._check_new(name, self.backend.endpoints, "endpoint")
        self._check_known(given["EndpointConfigName"])
        if len(self.backend.endpoints) >= self.limit:
            limit = f"'Number of endpoints' is {self.limit} Endpoints"
            raise Refused("ResourceLimitExceeded", f"The account-level service limit {limit}")
        self._check_quotas(given["EndpointConfigName"])
        endpoint = self.backend.create_endpoint(name, given["EndpointConfigName"], given.get("Tags", []))
        endpoint.endpoint_status = "Creating"
        self._under_way[name] = Change("Creating", given["EndpointConfigName"], LOOKS)
        return _json({"EndpointArn": endpoint.arn})

    def _update(self, given: dict) -> tuple[str, str]:
        endpoint = self._endpoint(given["EndpointName"])
        self._check_known(given["EndpointConfigName"])
        if endpoint.endpoint_status != "InService":
            raise _invalid(f'Cannot update in-progress endpoint "{endpoint.arn}": {endpoint.endpoint_status}')
        new = given["EndpointConfigName"]
        to_serverless = self._is_serverless(new)
        was_serverless = self._is_serverless(endpoint.endpoint_config_name)
        if to_serverless and not was_serverless:
            raise _invalid("Updating a real-time endpoint to a serverless endpoint is not supported.")
        kinds = {self._variant(name).get("InstanceType") for name in (endpoint.endpoint_config_name, new)}
        if len(kinds) > 1 and self._is_target(endpoint.endpoint_name):
            raise _invalid(f"The instance type of a variant registered with autoscaling cannot change: {sorted(kinds)}")
        self._check_quotas(new)
        guard = given.get("DeploymentConfig")
        if guard and (to_serverless or was_serverless):
            raise _invalid("DeploymentConfig is not for serverless endpoints")
        alarms = [each["AlarmName"] for each in (guard or {}).get("AutoRollbackConfiguration", {}).get("Alarms", ())]
        if unknown := [name for name in alarms if name not in self.alarms]:
            raise _invalid(f"no such alarm: {unknown[0]}")
        if guard and guard["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"] > 3600:
            raise _invalid("WaitIntervalInSeconds")
        endpoint.endpoint_status = "Updating"
        self._under_way[endpoint.endpoint_name] = Change("Updating", given["EndpointConfigName"], LOOKS, alarms)
        return _json({"EndpointArn": endpoint.arn})

    def _delete(self, given: dict) -> tuple[str, str]:
        name = given["EndpointName"]
        endpoint = self._endpoint(name)
        if endpoint.endpoint_status not in ("InService", "Failed"):
            raise _invalid(f'Cannot delete in-progress endpoint "{endpoint.arn}": {endpoint.endpoint_status}')
        endpoint.endpoint_status = "Deleting"
        self._under_way[name] = Change("Deleting", None, 1)
        return _json({})

    def _describe(self, given: dict) -> tuple[str, str]:
        name = given["EndpointName"]
        self._go_on(name)
        endpoint = self._endpoint(name)
        change = self._under_way.get(name)
        (about,) = self.backend.endpoint_configs[endpoint.endpoint_config_name].production_variants
        variant = {"VariantName": about["VariantName"]}
        if serverless := about.get("ServerlessConfig"):
            variant |= {"CurrentServerlessConfig": serverless}
        else:
            variant |= {"CurrentInstanceCount": about["InitialInstanceCount"]}
        found = {
            "EndpointName": name,
            "EndpointArn": endpoint.arn,
            "EndpointConfigName": endpoint.endpoint_config_name,
            "ProductionVariants": [variant],
            "EndpointStatus": endpoint.endpoint_status,
            "CreationTime": endpoint.creation_time.timestamp(),
            "LastModifiedTime": endpoint.last_modified_time.timestamp(),
        }
        if endpoint.failure_reason:
            found["FailureReason"] = endpoint.failure_reason
        if change and change.config:
            found["PendingDeploymentSummary"] = {"EndpointConfigName": change.config}
        return _json(found)

    def _go_on(self, name: str) -> None:
        """A look later: what is under way may be done."""
        if not (change := self._under_way.get(name)) or self.frozen:
            return
        change.left -= 1
        if change.left > 0:
            return
        del self._under_way[name]
        endpoint = self.backend.endpoints[name]
        if change.config is None:
            del self.backend.endpoints[name]
            return
        try:
            self._provision()
            self._start(change.config)
            if hook := self.before_the_end:
                self.before_the_end = None
                hook()
            if ringing := [alarm for alarm in change.alarms if self.alarms[alarm].state_value == "ALARM"]:
                raise Refused("", f"One or more configured alarms are in ALARM state: {ringing[0]}")
        except Refused as refused:
            endpoint.failure_reason = str(refused)
            endpoint.endpoint_status = "InService" if change.status == "Updating" else "Failed"
        else:
            endpoint.failure_reason = None
            endpoint.endpoint_config_name = change.config
            endpoint.production_variants = endpoint._process_production_variants(
                self.backend.endpoint_configs[change.config].production_variants
            )
            endpoint.endpoint_status = "InService"
            self._asleep[name] = [*self.cold, *self.later]

    def _endpoint(self, name: str) -> FakeEndpoint:
        if name not in self.backend.endpoints:
            raise _invalid(f'Could not find endpoint "{name}".')
        return self.backend.endpoints[name]

    def _check_known(self, config: str) -> None:
        if config not in self.backend.endpoint_configs:
            raise _invalid(f'Could not find endpoint configuration "{config}".')

    def _configs_of(self, endpoint: FakeEndpoint) -> set[str | None]:
        change = self._under_way.get(endpoint.endpoint_name)
        return {endpoint.endpoint_config_name, change.config if change else None}

    def _variant(self, config: str) -> dict:
        (variant,) = self.backend.endpoint_configs[config].production_variants
        return variant

    def _is_serverless(self, config: str) -> bool:
        return bool(self._variant(config).get("ServerlessConfig"))

    def _is_target(self, endpoint: str) -> bool:
        backend = applicationautoscaling_backends[DEFAULT_ACCOUNT_ID][self.region]
        targets = (each for of_dimension in backend.targets.values() for each in of_dimension)
        return any(each.startswith(f"endpoint/{endpoint}/") for each in targets)

    def _check_quotas(self, config: str) -> None:
        endpoints = self.backend.endpoints.values()
        self.quotas.check(self._variant(config), [self._variant(each.endpoint_config_name) for each in endpoints])

    # Containers and requests.

    def invoke(self, name: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """A request to an endpoint: status, headers and body of the answer, as AWS's."""
        if name not in self.backend.endpoints:
            return error(400, "ValidationError", f"Endpoint {name} of account {DEFAULT_ACCOUNT_ID} not found.")
        endpoint = self.backend.endpoints[name]
        if endpoint.endpoint_status not in ("InService", "Updating"):
            return error(400, "ValidationError", f"Endpoint {name} is {endpoint.endpoint_status}.")
        if self.unavailable:
            self.unavailable -= 1
            return error(503, "ServiceUnavailable", "The service is unavailable.")
        if len(body) > LARGEST[serverless := self._is_serverless(endpoint.endpoint_config_name)]:
            return oversize(serverless)
        if (left := self._asleep.get(name)) and (kind := left.pop(0)) != "answer":
            return cold(kind, name)
        container = self._start(endpoint.endpoint_config_name)
        asked = urllib.request.Request(f"http://127.0.0.1:{container.port}/invocations", body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answered:
                kind = {"Content-Type": answered.headers["Content-Type"]}
                kind["x-Amzn-Invoked-Production-Variant"] = "detector"
                return 200, kind, answered.read()
        except urllib.error.HTTPError as failed:
            text = failed.read().decode()
            said = f'Received server error ({failed.code}) from primary with message "{text}".'
            return error(424, "ModelError", said, {"OriginalStatusCode": failed.code, "OriginalMessage": text})

    def _provision(self) -> None:
        if self.no_capacity:
            self.no_capacity -= 1
            raise Refused("", "Unable to provision requested ML compute capacity. Please retry.")

    def _start(self, config: str) -> Container:
        """The container of a config, started from what lies in the bucket, unless it runs."""
        if config in self.broken:
            raise Refused("", "Unable to provision requested ML compute capacity. Please retry.")
        (variant,) = self.backend.endpoint_configs[config].production_variants
        about = self.backend._models[variant["ModelName"]].primary_container
        data = self._bundle(about["ModelDataUrl"])
        if data is None:
            raise Refused("", f"Failed to download model data {about['ModelDataUrl']}")
        key = json.dumps([about["ModelDataUrl"], about.get("Environment")], sort_keys=True)
        if key not in self._containers:
            self._containers[key] = start(data, about.get("Environment", {}), self.python)
        return self._containers[key]

    def _bundle(self, url: str) -> bytes | None:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(bucket)
        object_ = found.keys.get(key) if found else None
        return object_.value if object_ else None


def start(archive: bytes, environment: dict[str, str], python: str = sys.executable) -> Container:
    """Unpack a bundle and start a container from it; raises Refused where it does not come up."""
    folder = tempfile.mkdtemp(prefix="container-")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            tar.extractall(folder, filter="data")
        container_lib.adapt(Path(folder, "code/lib"))
    except (tarfile.TarError, OSError, EOFError) as error:
        shutil.rmtree(folder)
        raise Refused("", f"Failed to extract model data archive: {error}") from None
    log = Path(folder, "log")
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [python, str(CONTAINER), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=folder,
            # Nothing of this repository is within its reach.
            env={"PATH": os.environ["PATH"], "HOME": folder, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )
    line = process.stdout.readline()
    if not line.startswith("ready "):
        said = log.read_text()[-400:]
        Container(process, 0, folder).stop()
        raise Refused("", f"The primary container did not pass the ping health check: {said}")
    return Container(process, int(line.split()[1]), folder)


def _invalid(text: str) -> Refused:
    return Refused("ValidationException", text)


def _json(content: dict) -> tuple[str, str]:
    return "application/x-amz-json-1.1", json.dumps(content)
