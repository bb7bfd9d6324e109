"""moto in this process behind a wrapper that refuses where AWS would (see fake_ec2_rules.py) and where a test says so.

EC2, SSM, IAM, STS, CloudFormation and S3 are moto's; prices and quotas are answered here. SageMaker is moto's too, its
endpoints answered by containers (see fake_sagemaker.py). Nothing checks who asks.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import boto3
import fake_account
import fake_ec2_rules
import fake_sagemaker
from botocore.config import Config
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-central-1"
ROOT = Path(__file__).resolve().parents[2]
# What AWS answers with another status than 400. botocore tries again on those.
STATUS = {
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}


@dataclass(frozen=True)
class Call:
    """A request to AWS: `given` is flat for the query protocol (`TagSpecification.1.ResourceType`), else its JSON.

    S3's have their method as action, and path, query and whether they are for a new object alone as `given`. `by` is
    the access key: "test" where a test asks.
    """

    service: str
    region: str
    action: str
    given: dict
    by: str = ""


@dataclass
class Fault:
    """What a test asked to go wrong; `left` is how often still, None = always."""

    action: str
    code: str
    message: str
    left: int | None
    where: Callable[[Call], bool]


@dataclass
class AWS:
    """The server, what was asked of it, and what it is to refuse."""

    region: str = REGION
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    s3_calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rules: fake_ec2_rules.Rules = field(init=False)
    sagemaker: fake_sagemaker.SageMaker = field(init=False)
    account: fake_account.Account = field(default_factory=fake_account.Account)
    conflicts: int = 0  # conditional writes to S3 that are answered as if another one were under way
    # Called with "run" or "terminate" and ids of instances, after each such call.
    watchers: list[Callable[[str, list[str]], None]] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.rules = fake_ec2_rules.Rules(self.region)
        self.sagemaker = fake_sagemaker.SageMaker(self.region)

    def environment(self) -> dict[str, str]:
        """What points the AWS tools here; no profile of the machine's user."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def reset(self) -> None:
        """As when it was started: no instance, no stack, nothing asked and nothing to refuse."""
        with self._lock:
            moto_api_backend.reset()
            self.calls.clear()
            self.s3_calls.clear()
            self.faults.clear()
            self.watchers.clear()
            self.account = fake_account.Account()
            self.rules = fake_ec2_rules.Rules(self.region)
            self.rules.publish_images(self.backend)

    def client(self, service: str):
        """A boto3 client that does not try twice."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    @property
    def backend(self):
        """moto's own EC2, to look at or change what no call can."""
        return ec2_backends[DEFAULT_ACCOUNT_ID][self.region]

    def fail(
        self,
        action: str,
        code: str,
        times: int | None = 1,
        where: Callable[[Call], bool] = lambda call: True,
        message: str = "",
    ) -> Fault:
        """Answer the next `times` calls of `action` (None: all) for which `where` holds with AWS's error `code`.

        "lost" is no error of AWS: it does as it is told, and the answer is lost on the way.
        botocore repeats what AWS answers with a status of 500 or 503 by itself, and each repetition counts.
        """
        self.faults.append(Fault(action, code, message or f"{code}: as the test says", times, where))
        return self.faults[-1]

    def no_capacity(self, type: str | None = None, zone: str | None = None, market: str | None = None) -> None:
        """InsufficientInstanceCapacity from now on; market is "spot" or "on-demand", None means any."""
        self.rules.full.append((type, zone, market))

    def quota(self, code: str, vcpus: float) -> None:
        """Set a quota on running vCPUs, as Service Quotas shows it and as RunInstances heeds it."""
        self.rules.quotas[code] = vcpus

    def make_stack(self, bucket: str, **parameters: str) -> dict[str, str]:
        """The stack of infra/base.yaml for `bucket`, as scripts/aws.py names it; returns its outputs."""
        client = self.client("cloudformation")
        network = self.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
        given = {"Bucket": bucket, "Email": "me@example.org", "Vpc": network["VpcId"]} | parameters
        client.create_stack(
            StackName=f"plant-disease-{bucket}",
            TemplateBody=(ROOT / "infra/base.yaml").read_text(encoding="utf-8"),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            Tags=[{"Key": "project", "Value": "plant-disease-detector"}],
        )
        stack = client.describe_stacks(StackName=f"plant-disease-{bucket}")["Stacks"][0]
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}

    def respond(self, environ: dict, start_response: Callable, moto: Callable):
        """Answer one request, by a rule or by moto."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if invoked := re.fullmatch(r"/endpoints/([^/]+)/invocations", environ["PATH_INFO"]):
            return self._invoke(invoked[1], environ, body, start_response)
        call = _parse(environ, body)
        self.s3_calls += [call] if call.service == "s3" else []
        if call.service == "s3" or not call.action:
            return self._store(environ | {"wsgi.input": io.BytesIO(body)}, start_response, moto)
        with self._lock:
            self.calls.append(call)
            fault = self._fault_of(call)
            if fault and fault.code != "lost":
                return _refuse(call, fault.code, fault.message, start_response)
            try:
                answer = self.rules.respond(call, self.backend) or self.sagemaker.respond(call)
                answer = answer or self.account.respond(call)
            except fake_ec2_rules.Refused as refused:
                return _refuse(call, refused.code, str(refused), start_response)
            if answer is not None:
                return _send(start_response, 200, *answer)
            given = self.rules.completed(call, self.backend)
            if given is not call.given:
                body = urllib.parse.urlencode(given).encode()
            environ = environ | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            status, headers, answer = _collect(moto, environ)
            answer, event = self.rules.after(call, status, answer, self.backend)
            answer = self.sagemaker.after(call, status, answer)
            if event and event[1]:
                for watcher in self.watchers:
                    watcher(*event)
        if fault:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        start_response(status, [(k, v) for k, v in headers if k.lower() != "content-length"])
        return [answer]

    def _fault_of(self, call: Call) -> Fault | None:
        """The fault that this call meets, which counts it."""
        fault = next((f for f in self.faults if f.action == call.action and f.left != 0 and f.where(call)), None)
        if fault and fault.left is not None:
            fault.left -= 1
        return fault

    def _store(self, environ: dict, start_response: Callable, moto: Callable):
        """Answer a request to S3."""
        if self.conflicts and environ["REQUEST_METHOD"] == "PUT" and "HTTP_IF_NONE_MATCH" in environ:
            self.conflicts -= 1
            return _conflict(start_response)
        return moto(environ, start_response)

    def _invoke(self, endpoint: str, environ: dict, body: bytes, start_response: Callable):
        """Answer a request to a SageMaker endpoint; several at a time, as its container can."""
        given = {
            "Content-Type": environ.get("CONTENT_TYPE"),
            "Accept": environ.get("HTTP_ACCEPT"),
            "X-Amzn-SageMaker-Custom-Attributes": environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"),
        }
        with self._lock:
            by = _parse(environ, b"").by
            self.calls.append(Call("sagemaker", self.region, "InvokeEndpoint", {"EndpointName": endpoint}, by))
        status, headers, answer = self.sagemaker.invoke(endpoint, {k: v for k, v in given.items() if v}, body)
        start_response(f"{status} {'OK' if status == 200 else 'Refused'}", list(headers.items()))
        return [answer]


@contextlib.contextmanager
def running(folder: Path | None = None, region: str = REGION) -> Iterator[AWS]:
    """Start it with nothing in it but a default VPC and the images that AWS publishes."""
    moto_api_backend.reset()
    aws = AWS(region)
    moto = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1", 0, lambda environ, start: aws.respond(environ, start, moto), True, request_handler=_Quiet
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    aws.url = f"http://127.0.0.1:{server.server_port}"
    aws.rules.publish_images(aws.backend)
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        aws.sagemaker.stop()
        moto_api_backend.reset()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_) -> None:
        """No line per request."""


def _parse(environ: dict, body: bytes) -> Call:
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition(",")[0].split("/")
    region, service = scope[-3:-1] if len(scope) >= 5 else ("", "")
    by = scope[0]
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return Call(service, region, target.rpartition(".")[2], json.loads(body or b"{}"), by)
    if service == "s3":
        about = {"path": environ["PATH_INFO"], "query": environ.get("QUERY_STRING", "")}
        only_new = "HTTP_IF_NONE_MATCH" in environ
        return Call(service, region, environ["REQUEST_METHOD"], about | {"only_new": only_new}, by)
    text = body.decode(errors="replace") if body else environ.get("QUERY_STRING", "")
    given = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
    return Call(service, region, given.get("Action", ""), given, by)


def _collect(application: Callable, environ: dict) -> tuple[str, list, bytes]:
    """An application's whole answer."""
    begun: list = []
    pieces = application(environ, lambda status, headers, exc=None: begun.extend((status, headers)))
    answer = b"".join(pieces)
    if hasattr(pieces, "close"):
        pieces.close()
    return begun[0], begun[1], answer


def _refuse(call: Call, code: str, message: str, start_response: Callable):
    status = STATUS.get(code, 400)
    if call.service == "ec2":
        fault = f"<Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        text = f"<Response>{fault}<RequestID>{uuid.uuid4()}</RequestID></Response>"
        return _send(start_response, status, "text/xml", text)
    if "Action" in call.given:
        fault = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return _send(start_response, status, "text/xml", f"<ErrorResponse>{fault}</ErrorResponse>")
    return _send(start_response, status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}))


def _conflict(start_response: Callable):
    """S3's answer to a conditional write while another request for the key is under way."""
    text = "The conditional request cannot succeed due to a conflicting operation against this resource."
    body = f"<Error><Code>ConditionalRequestConflict</Code><Message>{text}</Message></Error>".encode()
    start_response("409 Conflict", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _send(start_response: Callable, status: int, kind: str, text: str):
    start_response(f"{status} {'OK' if status == 200 else 'Refused'}", [("Content-Type", kind)])
    return [text.encode()]
