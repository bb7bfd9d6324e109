"""AWS around the public API's function, in this process: the HTTP API in front of it, SageMaker's runtime behind it.

`event` makes what API Gateway calls a function with (payload format 2.0). `Gateway` is an HTTP server that does so for
each request, within the limits of API Gateway and Lambda; `Runtime` is one that answers InvokeEndpoint.
What API Gateway says of a body that Lambda does not take is not documented: 413 is a guess, and no test leans on it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ROUTES = (("POST", "/predict"), ("GET", "/health"), ("HEAD", "/health"))
MOST_BYTES = 10_000_000  # of a request, to API Gateway
MOST_EVENT = 6_291_556  # bytes of JSON, to Lambda
ACCOUNT = "123456789012"


def event(
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    query: str = "",
    caller: dict | None = None,
) -> dict:
    """The event of a request, as the developer guide shows it; `caller` is who signed it, where IAM was asked."""
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    about = {
        "accountId": ACCOUNT,
        "apiId": "api-id",
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "id",
        "http": {
            "method": method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": headers.get("user-agent", "agent"),
        },
        "requestId": "id",
        "routeKey": f"{method} {path}",
        "stage": "$default",
        "time": "12/Mar/2020:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    }
    if caller:
        about["authorizer"] = {"iam": caller}
    made = {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"x-forwarded-port": "443", "x-forwarded-proto": "https", **headers},
        "requestContext": about,
        "isBase64Encoded": False,
    }
    if query:
        values: dict[str, list[str]] = {}
        for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
            values.setdefault(name, []).append(value)
        made["queryStringParameters"] = {name: ",".join(each) for name, each in values.items()}
    if body is not None:
        made |= _body(headers.get("content-type", ""), body)
    return made


def _body(kind: str, body: bytes) -> dict:
    """API Gateway hands text over as it is and all else as base64; the content type says which is which."""
    kind = kind.partition(";")[0].strip().lower()
    text = kind.startswith("text/") or kind in ("application/json", "application/javascript", "application/xml")
    if text:
        return {"body": body.decode("utf-8", "replace"), "isBase64Encoded": False}
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


@dataclass
class Runtime:
    """InvokeEndpoint for endpoints by name: each is a function of content type, attributes and body to the answer."""

    endpoints: dict[str, Callable[[str, str, bytes], bytes]]
    url: str = ""
    asked: list[dict] = field(default_factory=list)
    refuses: tuple[int, str, dict] | None = None  # status, AWS's code and the rest of the body, for every request
    hangs: threading.Event | None = None  # no answer before it is set
    drops: int = 0  # connections that are still to be closed without an answer

    def respond(self, name: str, headers, body: bytes) -> tuple[int, dict[str, str], bytes]:
        attributes = headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
        self.asked.append({"type": headers["Content-Type"], "attributes": attributes, "body": body, "endpoint": name})
        if self.hangs:
            self.hangs.wait(30)
        if self.refuses:
            return _error(*self.refuses)
        if name not in self.endpoints:
            return _error(400, "ValidationError", {"message": f"Endpoint {name} of account {ACCOUNT} not found."})
        return (
            200,
            {"Content-Type": "application/json"},
            self.endpoints[name](headers["Content-Type"], attributes, body),
        )


def model_error(original: int, message: str) -> tuple[int, str, dict]:
    """What a caller gets when the container answers `original`."""
    log = f"https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#logEventViewer:{ACCOUNT}"
    return (
        424,
        "ModelError",
        {
            "ErrorCode": "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/x",
            "Message": f'Received server error ({original}) from primary with message "{message}". See {log}',
            "OriginalMessage": message,
            "OriginalStatusCode": original,
        },
    )


def _error(status: int, code: str, body: dict) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json", "x-amzn-ErrorType": code}, json.dumps(body).encode()


@contextlib.contextmanager
def runtime(**endpoints: Callable[[str, str, bytes], bytes]) -> Iterator[Runtime]:
    """Run it on a free port; names are given with _ for -."""
    stand = Runtime({name.replace("_", "-"): function for name, function in endpoints.items()})

    class Handler(_Handler):
        def do_POST(self):
            body = self.body()
            if stand.drops:
                stand.drops -= 1
                self.close_connection = True
                self.connection.close()
                return
            _, _, name, what = self.path.split("/")
            assert what == "invocations"
            self.reply(*stand.respond(name, self.headers, body))

    with _serving(Handler) as stand.url:
        yield stand


@contextlib.contextmanager
def gateway(
    handler: Callable[[dict, object], dict], origins: tuple[str, ...] = (), signer: Credentials | None = None
) -> Iterator[str]:
    """Run an HTTP API in front of the function on a free port; yields its address.

    `origins` are those of CORS; with a `signer`, requests must be signed with its credentials (AWS_IAM).
    """

    with _serving(functools.partial(_Gateway, handler, origins, signer)) as url:
        yield url


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        """No line per request."""


class _Gateway(_Handler):
    """Answers a request by the function, as the API would."""

    def __init__(self, function: Callable, origins: tuple[str, ...], signer: Credentials | None, *connection):
        self.function, self.origins, self.signer = function, origins, signer
        super().__init__(*connection)

    def handle_any(self):
        path, _, query = self.path.partition("?")
        origin = self.headers.get("Origin")
        cors = {"access-control-allow-origin": origin} if origin in self.origins else {}
        if self.command == "OPTIONS" and self.origins:
            more = {
                "access-control-allow-methods": "GET,POST",
                "access-control-allow-headers": "content-type,x-api-key",
            }
            return self.reply(204, cors | (more if cors else {}), b"")
        if (self.command, path) not in ROUTES:
            return self.say(404, "Not Found")
        if int(self.headers.get("Content-Length") or 0) > MOST_BYTES:
            self.close_connection = True
            return self.say(413, "Request Entity Too Large")
        body = self.body() if "Content-Length" in self.headers else None
        caller = None
        if self.signer:
            if not self.signed(body or b""):
                return self.say(403, "Forbidden")
            caller = {"accessKey": self.signer.access_key, "userArn": f"arn:aws:iam::{ACCOUNT}:user/me"}
        made = event(self.command, path, body, dict(self.headers.items()), query, caller)
        if len(json.dumps(made)) > MOST_EVENT:
            return self.say(413, "Request Too Long")
        given = json.loads(json.dumps(self.function(json.loads(json.dumps(made)), None)))
        data = given["body"].encode()
        self.reply(
            given["statusCode"],
            given["headers"] | cors,
            base64.b64decode(data) if given["isBase64Encoded"] else data,
        )

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_PUT = do_DELETE = handle_any

    def signed(self, body: bytes) -> bool:
        """Whether the signature is the one that AWS would compute."""
        given = self.headers.get("Authorization", "")
        names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        region = given.partition("Credential=")[2].split("/")[2] if "Credential=" in given else ""
        if not {"host", "x-amz-date"} <= set(names) or not region:
            return False
        request = AWSRequest(
            self.command,
            f"http://{self.headers['Host']}{self.path}",
            headers={name: self.headers[name] for name in names if name in self.headers},
            data=body,
        )
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        check = SigV4Auth(self.signer, "execute-api", region)
        canonical = check.canonical_request(request)
        mine = check.signature(check.string_to_sign(request, canonical), request)
        return given.partition("Signature=")[2] == mine

    def say(self, status: int, text: str):
        self.reply(status, {"content-type": "application/json"}, json.dumps({"message": text}).encode())


@contextlib.contextmanager
def _serving(handler: Callable) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
