"""The public API's function on AWS Lambda: `POST /predict` and `GET /health` in front of one SageMaker endpoint.

infra/api.yaml has API Gateway call `handler` with events of payload format 2.0. AWS runs this very file, beside what
understands a request (plantdoc.public_api.lambda_zip lists it), with nothing but boto3 and the standard library.

Environment: ENDPOINT, its name; ACCESS, key, iam or open; KEY_SHA256, the hash of the key in hexadecimal digits.
Every error is `{"error": {"status", "code", "message"}}`; what AWS says is logged and never answered.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import os
import time
import traceback
import urllib.parse
from typing import Any

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from plantdoc.decoder import file_kind
from plantdoc.serving.handler import options, refusal, request
from plantdoc.serving.handler.request import JSON

# Of a picture, or of JSON with several. Serverless endpoints take 4 MiB; Lambda takes 6 MiB, a picture then in base64.
MAX_BYTES = 4_000_000
MAX_JSON = MAX_BYTES * 4 // 3 + 1000  # of JSON with one picture, which goes on to the endpoint as it is in the file
MAX_ANSWER = 5_000_000  # bytes; Lambda gives back 6 MiB, with each quotation mark escaped
WAIT = 25  # seconds for the endpoint: API Gateway itself gives up after 30
HEALTHY = 30  # seconds for which a good /health is not asked again: asking costs an invocation
# SageMaker's words, with a ModelError, where the container took more than 60 seconds: it was starting.
TIMED_OUT = "timed out while waiting for a response from container"
TOO_LONG = ("oversize body", "too large", "length less than", "content length exceeded")  # SageMaker's words for a body
THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException", "LimitExceededException", "SlowDown")
# Grey, 32 × 32 pixels.
GREY = "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAGElEQVR42mNsYMAPmBhGFYwqGFUwQhUAAJe+AMD8WknZAAAAAElFTkSuQmCC"


class Refused(refusal.Refused):
    """A refusal: the client's message, `detail` for the log, and headers."""

    def __init__(self, status: int, code: str, message: str, detail: str = "", **headers: str):
        super().__init__(status, code, message)
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def handler(event: dict, context: object = None) -> dict:
    """Handler that API Gateway calls. Logs one line per request, without picture or key."""
    began = time.monotonic()
    asked = _asked(event)
    line = {"method": asked.get("method"), "path": str(asked.get("path"))[:100], "status": 200}
    headers = {"content-type": JSON, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    try:
        body = _route(event, asked)
    except Exception as error:
        if not isinstance(error, refusal.Refused):
            traceback.print_exc()
            error = Refused(500, "internal", "this is a mistake of the API's: it is in its log")
        headers |= getattr(error, "headers", {})
        line |= {"status": error.status, "code": error.code, "detail": getattr(error, "detail", "")[:300]}
        body = json.dumps({"error": error.as_json()})
    received = len(event.get("body") or "") if asked else 0
    line |= {"received": received, "milliseconds": round(1000 * (time.monotonic() - began), 1)}
    print(json.dumps(line), flush=True)
    return {"statusCode": line["status"], "headers": headers, "body": body, "isBase64Encoded": False}


def _asked(event: Any) -> dict:
    """Method and path of an event of payload format 2.0; nothing of any other, as of a load balancer or a queue."""
    context = event.get("requestContext") if isinstance(event, dict) else None
    http = context.get("http") if isinstance(context, dict) else None
    return {"method": http.get("method"), "path": event.get("rawPath")} if isinstance(http, dict) else {}


def _route(event: dict, asked: dict) -> str:
    if not asked:
        raise Refused(
            501, "event_format", "this function takes events of an HTTP API of API Gateway, with payload format 2.0"
        )
    method, path = asked["method"], asked["path"]
    routes = {"/predict": (("POST",), predict), "/health": (("GET", "HEAD"), health)}
    if path not in routes:
        raise Refused(404, "no_such_path", "there are POST /predict and GET /health")
    allowed, function = routes[path]
    if method not in allowed:
        raise Refused(405, "wrong_method", f"{path} takes {allowed[0]}", allow=", ".join(allowed))
    _admit(event)
    body = function(event)
    return "" if method == "HEAD" else body


def predict(event: dict) -> str:
    """The endpoint's answer to the picture or pictures in the event, as JSON text."""
    query = event.get("rawQueryString")
    if query is None:
        pairs = list((event.get("queryStringParameters") or {}).items())
    else:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    kind, data, chosen = _sent(event, request.options(pairs, _header(event, request.ATTRIBUTES)))
    given = zip(options.NAMES, options.values(chosen), strict=True)
    return _ask(kind, data, ",".join(f"{name}={value}" for name, value in given if value is not None))[0]


def health(event: dict) -> str:
    """Whether the endpoint answers, which a grey picture shows; a good answer holds for HEALTHY seconds.

    DescribeEndpoint would cost nothing and need one more right, and says InService of a model that fails every time.
    """
    if time.monotonic() - _healthy.get("at", -HEALTHY) >= HEALTHY:
        try:
            _, answer = _ask("image/png", base64.b64decode(GREY), "")
        except Refused as refused:
            if refused.status >= 500 or refused.status == 429:
                raise
            raise _broken(f"the grey picture: {refused.code}") from None
        _healthy.update(at=time.monotonic(), model=answer.get("model"))
    return json.dumps({"status": "ok", "model": _healthy["model"]})


_healthy: dict = {}  # `at`, on the monotonic clock, and `model`


def _admit(event: dict) -> None:
    """Let through who may ask; nobody where ACCESS says nothing that is known."""
    access = os.environ.get("ACCESS")
    if access == "open":
        return
    if access == "iam":
        # API Gateway has checked the signature, and says here whose it was.
        if not (event["requestContext"].get("authorizer") or {}).get("iam"):
            raise Refused(403, "not_signed", "sign the request with AWS credentials (Signature Version 4, execute-api)")
        return
    given = _header(event, "x-api-key")
    if not given:
        raise Refused(401, "key_missing", "send the key in the header x-api-key", www_authenticate="ApiKey")
    digest = hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()
    if access != "key" or not hmac.compare_digest(digest, os.environ.get("KEY_SHA256", "")):
        raise Refused(401, "key_wrong", "the key in the header x-api-key is not this API's", www_authenticate="ApiKey")


def _sent(event: dict, given: options.Options) -> tuple[str, bytes, options.Options]:
    """Content type and bytes for the endpoint, and the options.

    JSON with several pictures goes on as it is, since the endpoint looks at each; of a form with several, it is made.
    """
    claimed = _header(event, "content-type")
    sent = request.read(claimed, data := _body(event), given, MAX_JSON)
    if not sent.many:
        return *_picture(sent.pictures[0]), sent.options
    if request.kind_of(claimed, data) == request.FORM:
        rows = [{"b64": base64.b64encode(each).decode()} for each in sent.pictures if isinstance(each, bytes)]
        data = json.dumps({"instances": rows}).encode()
    if len(data) > MAX_BYTES:
        raise _too_long()
    return JSON, data, sent.options


def _body(event: dict) -> bytes:
    body = event.get("body") or ""
    if len(body) > MAX_JSON:
        raise _too_long()
    if event.get("isBase64Encoded"):
        try:
            data = base64.b64decode(body, validate=True)
        except ValueError:
            raise Refused(400, "wrong_base64", "the body is not base64") from None
    else:
        data = body.encode("utf-8", "surrogatepass")
    return request.uncompressed(_header(event, "content-encoding"), data, MAX_JSON)


def _picture(data: bytes | refusal.Refused) -> tuple[str, bytes]:
    if isinstance(data, refusal.Refused):
        raise data
    if len(data) > MAX_BYTES:
        raise _too_long()
    kind = file_kind.of(data)
    if kind in file_kind.PHONES:
        raise Refused(415, "not_read_here", file_kind.REMEDY.format(kind=kind))
    if kind not in file_kind.MIME:
        raise Refused(415, "not_a_picture", "this is no JPEG, PNG or WebP picture")
    return file_kind.MIME[kind], data


def _too_long() -> Refused:
    most = f"{MAX_BYTES / 1e6:g} MB"
    return Refused(413, "too_long", f"the limit is {most} for a picture, or for JSON with several: send smaller ones")


def _ask(kind: str, data: bytes, attributes: str) -> tuple[str, dict]:
    """Invoke the endpoint. Returns its answer as JSON text and as what that holds."""
    call = {"EndpointName": os.environ["ENDPOINT"], "ContentType": kind, "Accept": JSON, "Body": data}
    if attributes:
        call["CustomAttributes"] = attributes
    try:
        text = _invoke(call)
    except aws.ClientError as error:
        raise _of_aws(error) from None
    except aws.ReadTimeoutError:
        message = f"no answer in {WAIT} seconds: the model may be starting, try again in a minute"
        raise Refused(504, "endpoint_slow", message, retry_after="60") from None
    except (aws.ConnectionError, aws.HTTPClientError) as error:
        raise _away("endpoint_unreachable", "the model cannot be reached", type(error).__name__) from None
    except aws.BotoCoreError as error:
        raise _broken(type(error).__name__) from None
    if len(text) > MAX_ANSWER:
        raise Refused(502, "answer_too_long", "the answer is too long: ask for fewer detections with max")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise _broken("no JSON") from None
    if not isinstance(answer, dict):
        raise _broken("not an object")
    if "error" in answer:
        raise _of_endpoint(answer["error"])
    return text.decode(), answer


def _invoke(call: dict) -> bytes:
    began = time.monotonic()
    try:
        return _client().invoke_endpoint(**call)["Body"].read(MAX_ANSWER + 1)
    except (aws.ConnectionClosedError, aws.EndpointConnectionError):
        # A connection kept from before Lambda froze this process is dead, and that shows only in use.
        if time.monotonic() - began > 1:
            raise
        return _client().invoke_endpoint(**call)["Body"].read(MAX_ANSWER + 1)


@functools.cache
def _client():
    settings = Config(connect_timeout=2, read_timeout=WAIT, retries={"total_max_attempts": 1, "mode": "standard"})
    return boto3.client("sagemaker-runtime", config=settings)


def _of_endpoint(error: Any) -> Refused:
    """The refusal in an answer: the container can say 200 or 500 only, so its status is in the body."""
    try:
        status, code, message = error["status"], error["code"], error["message"]
    except (TypeError, KeyError):
        return _broken("an error of another form")
    if type(status) is not int or not 400 <= status <= 599 or not isinstance(code, str) or not isinstance(message, str):
        return _broken("an error of another form")
    return Refused(status, code, message)


def _of_aws(error: aws.ClientError) -> Refused:
    """Refusal for an error of SageMaker, in words that hold no ARN, no path and nothing of the container's log."""
    about = error.response.get("Error", {})
    code, said = about.get("Code") or "", about.get("Message") or ""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "ModelError":
        original = error.response.get("OriginalStatusCode")
        if original == 413:
            return _too_long()
        if TIMED_OUT in said:
            return _starting(f"ModelError {original}")
        return _broken(f"ModelError {original}")  # the rest is in the endpoint's own log
    detail = f"{code} {status} {said}"
    if code in THROTTLED or (status == 429 and code != "ModelNotReadyException"):
        message = "the model has more requests than it can answer: try again in a few seconds"
        return Refused(429, "busy", message, detail, retry_after="5")
    if status == 413 or (code == "ValidationError" and any(each in said for each in TOO_LONG)):
        return _too_long()
    if code == "ModelNotReadyException":
        return _starting(detail)
    if code == "ValidationError" and "not found" in said:
        return _away("no_endpoint", "no model is deployed, or it is just being replaced", detail)
    if status in (500, 503, 530) or code == "ValidationError":
        return _away("endpoint_not_ready", "the model cannot answer now", detail)
    return _broken(detail)


def _away(code: str, message: str, detail: str) -> Refused:
    return Refused(503, code, f"{message}: try again in a minute", detail, retry_after="60")


def _starting(detail: str) -> Refused:
    return _away("endpoint_starting", "the endpoint is starting", detail)


def _broken(detail: str) -> Refused:
    return Refused(502, "model_error", "the model failed on this request", detail)


def _header(event: dict, name: str) -> str:
    """A header by its name in lower case; in the event it may be in any."""
    return next((value for key, value in (event.get("headers") or {}).items() if key.lower() == name and value), "")


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    _client()  # while Lambda starts this process, which it does with more CPU than it gives to a request
