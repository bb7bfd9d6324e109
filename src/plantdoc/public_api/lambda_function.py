"""The public API's function on AWS Lambda: `POST /predict` and `GET /health` in front of one SageMaker endpoint.

infra/api.yaml has API Gateway call `handler` with events of payload format 2.0. AWS runs this very file: it stands
alone, with nothing but boto3 and the standard library.

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
from typing import Any

import boto3
from botocore import exceptions as aws
from botocore.config import Config

# Of a picture, or of JSON with several. Serverless endpoints take 4 MiB; Lambda takes 6 MiB, a picture then in base64.
MAX_BYTES = 4_000_000
MAX_JSON = MAX_BYTES * 4 // 3 + 1000  # of JSON with one picture, which goes on to the endpoint as it is in the file
MAX_ANSWER = 5_000_000  # bytes; Lambda gives back 6 MiB, with each quotation mark escaped
MAX_BATCH = 32  # pictures
MAX_DETECTIONS = 1000
WAIT = 25  # seconds for the endpoint: API Gateway itself gives up after 30
HEALTHY = 30  # seconds for which a good /health is not asked again: asking costs an invocation
TYPES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "image/webp": b"RIFF"}
JSON = "application/json"
THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException", "LimitExceededException", "SlowDown")
# Grey, 32 × 32 pixels.
GREY = "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAGElEQVR42mNsYMAPmBhGFYwqGFUwQhUAAJe+AMD8WknZAAAAAElFTkSuQmCC"


class Refused(Exception):
    """A refusal: the client's message, and `detail` for the log."""

    def __init__(self, status: int, code: str, message: str, detail: str = "", **headers: str):
        super().__init__(message)
        self.status, self.code, self.message, self.detail = status, code, message, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def handler(event: dict, context: object = None) -> dict:
    """Handler that API Gateway calls. Logs one line per request, without picture or key."""
    began = time.monotonic()
    asked = event.get("requestContext", {}).get("http", {})
    line = {"method": asked.get("method"), "path": str(event.get("rawPath"))[:100], "status": 200}
    headers = {"content-type": JSON, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    try:
        body = _route(event, asked.get("method"), event.get("rawPath"))
    except Exception as error:
        if not isinstance(error, Refused):
            traceback.print_exc()
            error = Refused(500, "internal", "this is a mistake of the API's: it is in its log")
        headers |= error.headers
        line |= {"status": error.status, "code": error.code, "detail": error.detail[:300]}
        body = json.dumps({"error": {"status": error.status, "code": error.code, "message": error.message}})
    line |= {"received": len(event.get("body") or ""), "milliseconds": round(1000 * (time.monotonic() - began), 1)}
    print(json.dumps(line), flush=True)
    return {"statusCode": line["status"], "headers": headers, "body": body, "isBase64Encoded": False}


def _route(event: dict, method: str | None, path: str | None) -> str:
    routes = {"/predict": ("POST", predict), "/health": ("GET", health)}
    if path not in routes:
        raise Refused(404, "no_such_path", "there are POST /predict and GET /health")
    allowed, function = routes[path]
    if method != allowed:
        raise Refused(405, "wrong_method", f"{path} takes {allowed}", allow=allowed)
    _admit(event)
    return function(event)


def predict(event: dict) -> str:
    """The endpoint's answer to the picture or pictures in the event, as JSON text."""
    attributes = _options(event.get("queryStringParameters") or {})
    kind, data = _sent(event)
    return _ask(kind, data, attributes)[0]


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


def _options(query: dict[str, str]) -> str:
    """The endpoint's custom attributes for `threshold` (0..1) and `max` (1..MAX_DETECTIONS)."""
    if set(query) - {"threshold", "max"}:
        raise Refused(400, "unknown_option", "the options are threshold and max")
    found = []
    for name, kind, least, most in (("threshold", float, 0, 1), ("max", int, 1, MAX_DETECTIONS)):
        if name in query:
            try:
                value = kind(query[name])
            except ValueError:
                value = -1
            if not least <= value <= most:
                whole = "whole " if kind is int else ""
                raise Refused(400, "wrong_option", f"{name} must be a {whole}number from {least} to {most}")
            found.append(f"{name}={value}")
    return ",".join(found)


def _sent(event: dict) -> tuple[str, bytes]:
    """Content type and bytes for the endpoint: the type of a picture is what its first bytes say."""
    claimed = _header(event, "content-type").partition(";")[0].strip().lower()
    if claimed != JSON and claimed not in TYPES:
        raise Refused(415, "content_type", f"the content type must be one of {', '.join((*TYPES, JSON))}")
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
    if not data:
        raise Refused(400, "empty", "the body is empty: send a picture")
    return _from_json(data) if claimed == JSON else _picture(data)


def _from_json(data: bytes) -> tuple[str, bytes]:
    """One picture from `{"b64": …}`; `{"instances": […]}` goes on as it is, and the endpoint looks at each."""
    forms = '{"b64": "…"} or {"instances": [{"b64": "…"}]}'
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(400, "not_json", f"the body is not JSON: send {forms}") from None
    if not isinstance(content, dict):
        raise Refused(400, "wrong_json", f"the JSON has another form: send {forms}")
    if set(content) == {"b64"} and isinstance(content["b64"], str):
        try:
            return _picture(base64.b64decode(content["b64"], validate=True))
        except ValueError:
            raise Refused(400, "wrong_base64", "b64 is not base64") from None
    instances = content.get("instances")
    if not isinstance(instances, list):
        raise Refused(400, "wrong_json", f"the JSON has another form: send {forms}")
    if not instances:
        raise Refused(400, "empty", "instances is empty: send at least one picture")
    if len(instances) > MAX_BATCH:
        raise Refused(413, "too_many_pictures", f"more than {MAX_BATCH} pictures: send them in several requests")
    if len(data) > MAX_BYTES:
        raise _too_long()
    return JSON, data


def _picture(data: bytes) -> tuple[str, bytes]:
    if len(data) > MAX_BYTES:
        raise _too_long()
    for kind, start in TYPES.items():
        if data.startswith(start) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return kind, data
    raise Refused(415, "not_a_picture", "this is no JPEG, PNG or WebP picture")


def _too_long() -> Refused:
    most = f"{MAX_BYTES / 1e6:g} MB"
    return Refused(413, "too_long", f"the limit is {most} for a picture, or for JSON with several: send smaller ones")


def _ask(kind: str, data: bytes, attributes: str) -> tuple[str, dict]:
    """Invoke the endpoint. Returns its answer as JSON text and as what that holds."""
    request = {"EndpointName": os.environ["ENDPOINT"], "ContentType": kind, "Accept": JSON, "Body": data}
    if attributes:
        request["CustomAttributes"] = attributes
    try:
        text = _invoke(request)
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


def _invoke(request: dict) -> bytes:
    began = time.monotonic()
    try:
        return _client().invoke_endpoint(**request)["Body"].read(MAX_ANSWER + 1)
    except (aws.ConnectionClosedError, aws.EndpointConnectionError):
        # A connection kept from before Lambda froze this process is dead, and that shows only in use.
        if time.monotonic() - began > 1:
            raise
        return _client().invoke_endpoint(**request)["Body"].read(MAX_ANSWER + 1)


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
        return _broken(f"ModelError {original}")  # the rest is in the endpoint's own log
    detail = f"{code} {status} {said}"
    if code in THROTTLED or (status == 429 and code != "ModelNotReadyException"):
        message = "the model has more requests than it can answer: try again in a few seconds"
        return Refused(429, "busy", message, detail, retry_after="5")
    if status == 413 or (code == "ValidationError" and ("too large" in said or "length less than" in said)):
        return _too_long()
    if code == "ModelNotReadyException":
        return _away("endpoint_starting", "the model is starting", detail)
    if code == "ValidationError" and "not found" in said:
        return _away("no_endpoint", "no model is deployed, or it is just being replaced", detail)
    if status in (500, 503, 530) or code == "ValidationError":
        return _away("endpoint_not_ready", "the model cannot answer now", detail)
    return _broken(detail)


def _away(code: str, message: str, detail: str) -> Refused:
    return Refused(503, code, f"{message}: try again in a minute", detail, retry_after="60")


def _broken(detail: str) -> Refused:
    return Refused(502, "model_error", "the model failed on this request", detail)


def _header(event: dict, name: str) -> str:
    return (event.get("headers") or {}).get(name) or ""


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    _client()  # while Lambda starts this process, which it does with more CPU than it gives to a request
