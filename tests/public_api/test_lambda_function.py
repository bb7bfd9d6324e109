"""The public API's function as AWS gets it, from its zip, called with the events that API Gateway sends.

Behind it is the handler of the bundle itself, with a stand-in for TensorFlow Serving: what it refuses is real.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path

import container_handler
import fake_api_gateway
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from fake_api_gateway import event, model_error
from PIL import Image

from plantdoc.public_api import lambda_zip
from plantdoc.serving.handler import refusal, request

NAME = "plant-disease-detector"
KEY = "a-key-that-nobody-else-has"
LEAKS = (
    "arn:",
    "/opt/",
    "/var/",
    "/tmp/",
    "Traceback",
    fake_api_gateway.ACCOUNT,
    "console.aws",
    "site-packages",
    KEY,
    "secret",
)
TFS = container_handler.SECRET


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The function's code as AWS unpacks it."""
    folder = tmp_path_factory.mktemp("task")
    zipfile.ZipFile(io.BytesIO(lambda_zip.make())).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with fake_api_gateway.runtime(
        plant_disease_detector=container_handler.detector(tmp_path_factory.mktemp("bundle"))
    ) as stand:
        yield stand


@pytest.fixture
def function(unpacked, stand, monkeypatch):
    """The function in a fresh process, as far as it can tell."""
    for name, value in {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": stand.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-aws",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_LAMBDA_FUNCTION_NAME": "plant-disease-api-Function-x",
        "ENDPOINT": NAME,
        "ACCESS": "open",
        "KEY_SHA256": "",
    }.items():
        monkeypatch.setenv(name, value)
    stand.asked.clear()
    stand.refuses, stand.hangs, stand.drops = None, None, 0
    return container_handler.loaded("function", unpacked / "lambda_function.py")


def picture(kind: str = "JPEG", size: tuple[int, int] = (48, 32), mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 90).save(file, kind, **options)
    return file.getvalue()


def padded(size: int) -> bytes:
    """A JPEG of exactly so many bytes: what stands behind its end is ignored."""
    data = picture()
    return data + bytes(size - len(data))


def post(body: bytes | dict, kind: str = "image/jpeg", query: str = "", **headers: str) -> dict:
    if isinstance(body, dict | list):
        body, kind = json.dumps(body).encode(), "application/json"
    return event("POST", "/predict", body, {"content-type": kind, **headers}, query)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def answered(function, made: dict) -> tuple[int, dict]:
    """Status and content of the answer, which is of the form that API Gateway takes and leaks nothing."""
    got = function.handler(made, None)
    assert set(got) == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert got["headers"]["content-type"] == "application/json"
    assert json.loads(json.dumps(got)) == got
    for leak in LEAKS:
        assert leak not in json.dumps(got), leak
    content = json.loads(got["body"])
    if got["statusCode"] != 200:
        assert set(content) == {"error"}
        assert set(content["error"]) == {"status", "code", "message"}
        assert content["error"]["status"] == got["statusCode"]
        assert content["error"]["message"]
    return got["statusCode"], content


def refused(function, made: dict) -> tuple[int, str]:
    status, content = answered(function, made)
    return status, content["error"]["code"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_reaches_the_endpoint_byte_for_byte_and_its_answer_comes_back(function, stand, kind):
    data = picture(kind)
    status, content = answered(function, post(data, f"image/{kind.lower()}"))
    assert status == 200
    assert stand.asked == [{"type": f"image/{kind.lower()}", "attributes": "", "body": data, "endpoint": NAME}]
    assert (content["width"], content["height"], content["threshold"]) == (48, 32, 0.5)
    assert content["detections"] == [
        {"box": [1.0, 2.0, 3.0, 4.0], "score": 0.9, "class_id": 1, "class_name": "Corn rust leaf"}
    ]


def test_the_type_is_what_the_first_bytes_say_not_what_the_client_says(function, stand):
    assert answered(function, post(picture("PNG"), "image/jpeg"))[0] == 200
    assert answered(function, post(picture("JPEG"), "IMAGE/WebP; q=1"))[0] == 200
    assert [asked["type"] for asked in stand.asked] == ["image/png", "image/jpeg"]


def test_a_picture_in_json_is_the_same_request_to_the_endpoint(function, stand):
    data = picture("PNG")
    in_json, plain = answered(function, post(b64(data))), answered(function, post(data, "image/png"))
    assert stand.asked[0] == stand.asked[1]
    for _, content in (in_json, plain):
        content.pop("milliseconds")
    assert in_json == plain


def test_json_that_comes_as_base64_is_read_too(function):
    made = post(b64(picture()))
    made |= {"body": base64.b64encode(made["body"].encode()).decode(), "isBase64Encoded": True}
    assert answered(function, made)[0] == 200


def test_eight_pictures_of_which_one_is_bad_get_seven_answers_and_one_error(function, stand):
    instances = [b64(picture()) for _ in range(7)]
    instances.insert(3, b64(picture()[:300]))
    status, content = answered(function, post({"instances": instances}))
    assert status == 200
    assert json.loads(stand.asked[0]["body"]) == {"instances": instances}
    errors = [number for number, each in enumerate(content["predictions"]) if "error" in each]
    assert (len(content["predictions"]), errors) == (8, [3])
    assert content["predictions"][3]["error"]["status"] == 422


QUERIES = ["threshold=0.25", "threshold=0&max=1", "max=1000", "threshold=1e-05", "threshold=1"]
NONSENSE = [
    "threshold=1.1",
    "threshold=nan",
    "threshold=",
    "threshold=0.5&threshold=0.6",
    "max=0",
    "max=1001",
    "max=2.5",
]
NONSENSE += ["max=1%0d%0ax:y", "limit=3", "Threshold=0.5", "threshold=-0.1", "max=x&threshold=0.5", "tfs-model-name=x"]


@pytest.mark.parametrize("query", QUERIES)
def test_the_options_reach_the_endpoint_as_the_server_would_read_them(function, stand, query):
    assert answered(function, post(picture(), query=query))[0] == 200
    sent = dict(pair.split("=") for pair in stand.asked[0]["attributes"].split(","))
    assert request.options(sent) == request.options(event("POST", "/predict", query=query)["queryStringParameters"])


@pytest.mark.parametrize("query", NONSENSE)
def test_nonsense_for_options_is_refused_as_the_server_would(function, stand, query):
    made = post(picture(), query=query)
    with pytest.raises(refusal.Refused) as expected:
        request.options(urllib.parse.parse_qsl(query, keep_blank_values=True))
    assert answered(function, made) == (400, {"error": expected.value.as_json()})
    assert stand.asked == []


def test_the_limits_are_the_servers_or_below(function):
    assert function.MAX_BYTES < 4 * 2**20 < request.MAX_BYTES, "a serverless endpoint takes 4 MiB"
    assert function.WAIT < 29, "the function's own limit, in infra/api.yaml"


BOMB = zlib.compress(bytes(10), 9)
HUGE_PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    for kind, data in (
        (b"IHDR", (20_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])),
        (b"IDAT", BOMB),
        (b"IEND", b""),
    )
)
BAD = {
    "not a picture": (post(b"hello, I am a text"), (415, "not_a_picture")),
    "nothing": (post(b""), (400, "empty")),
    "no body at all": (event("POST", "/predict", None, {"content-type": "image/jpeg"}), (400, "empty")),
    "a GIF": (post(picture("GIF", mode="P"), "image/gif"), (415, "content_type")),
    "a GIF that says JPEG": (post(picture("GIF", mode="P")), (415, "not_a_picture")),
    "RIFF that is sound": (post(b"RIFF\x24\x00\x00\x00WAVEfmt ", "image/webp"), (415, "not_a_picture")),
    "text as what curl says by itself": (post(b"a=b", "application/x-www-form-urlencoded"), (415, "content_type")),
    "half a form": (post(b"--x\r\n", "multipart/form-data; boundary=x"), (400, "wrong_form")),
    "HEIC": (post(b"\0\0\0\x18ftypheic" + bytes(16), "image/heic"), (415, "not_read_here")),
    "a truncated JPEG": (post(picture(size=(400, 300))[:700]), (422, "damaged")),
    "a JPEG's first bytes": (post(b"\xff\xd8\xff\xe0"), None),
    "one pixel": (post(picture("PNG", (1, 1)), "image/png"), (422, "too_small")),
    "20,000 × 20,000 pixels": (post(HUGE_PNG, "image/png"), (413, "too_many_pixels")),
    "no JSON": (post(b'{"b64": ', "application/json"), (400, "not_json")),
    "JSON that is not UTF-8": (post(b'{"b64": "\xff"}', "application/json"), (400, "wrong_base64")),
    "deep JSON": (post(b"[" * 200_000, "application/json"), (413, "too_many_pictures")),
    "a list": (post([1]), (400, "wrong_json")),
    "another key": (post({"image": "x"}), (400, "wrong_json")),
    "b64 of another type": (post({"b64": 1}), (400, "wrong_json")),
    "b64 and more": (post(b64(picture()) | {"x": 1}), (400, "wrong_json")),
    "not base64": (post({"b64": "a picture!"}), (400, "wrong_base64")),
    "no ASCII": (post({"b64": "ä"}), (400, "wrong_base64")),
    "base64 of no picture": (post(b64(b"hello")), (415, "not_a_picture")),
    "instances that are no list": (post({"instances": {"b64": ""}}), (400, "wrong_json")),
    "an empty batch": (post({"instances": []}), (400, "empty")),
    "33 pictures": (post({"instances": [b64(b"")] * 33}), (413, "too_many_pictures")),
    "base64 that API Gateway would not make": (post(b"x") | {"body": "!!!"}, (400, "wrong_base64")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_4xx_that_says_what_was_wrong_and_the_next_one_is_served(function, case):
    made, expected = BAD[case]
    found = refused(function, made)
    assert found == expected if expected else 400 <= found[0] < 500
    assert answered(function, post(picture()))[0] == 200


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_pictures_of_other_modes_and_turned_ones_are_the_endpoints_business(function, stand, mode):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture(mode=mode, exif=exif)
    status, content = answered(function, post(data))
    assert (status, content["width"], content["height"]) == (200, 32, 48), "as displayed"
    assert stand.asked[0]["body"] == data


def test_the_largest_picture_passes_in_either_form_within_what_lambda_takes(function, stand):
    data = padded(function.MAX_BYTES)
    for made in (post(data), post(b64(data))):
        assert len(json.dumps(made)) < 6 * 2**20
        assert answered(function, made)[0] == 200
    assert [len(asked["body"]) for asked in stand.asked] == [function.MAX_BYTES] * 2


def test_a_byte_more_is_413_and_says_the_limit_and_the_endpoint_is_not_asked(function, stand):
    data = padded(function.MAX_BYTES + 1)
    several = {"instances": [b64(padded(1_600_000))] * 2}
    endless = post(b'{"b64": "' + b"A" * 6_000_000, "application/json")
    others = (post(b64(data)), post(several), post(padded(30_000_000)), post(b64(padded(10_000_000))), endless)
    for made in (post(data), *others):
        status, content = answered(function, made)
        assert (status, content["error"]["code"]) == (413, "too_long")
        assert "4 MB" in content["error"]["message"]
    assert stand.asked == []


ARN = f"User: arn:aws:sts::{fake_api_gateway.ACCOUNT}:assumed-role/x "
ARN += "is not authorized to perform: sagemaker:InvokeEndpoint"
FAILURES = {
    "model error": (model_error(500, TFS), (502, "model_error")),
    "model says too large": (model_error(413, "too large"), (413, "too_long")),
    "model unavailable": (model_error(503, TFS), (502, "model_error")),
    "throttled": ((400, "ThrottlingException", {"message": None}), (429, "busy")),
    "throttled by 429": ((429, "TooManyRequests", {"message": "Rate exceeded"}), (429, "busy")),
    "serverless not ready": ((429, "ModelNotReadyException", {"Message": "provisioning"}), (503, "endpoint_starting")),
    "cold container": (
        model_error(0, "Your invocation timed out while waiting for a response from container primary. Review the "
                    "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."),
        (503, "endpoint_starting"),
    ),
    "unavailable": ((503, "ServiceUnavailable", {"Message": "no"}), (503, "endpoint_not_ready")),
    "internal": ((500, "InternalFailure", {"Message": "no"}), (503, "endpoint_not_ready")),
    "dependency": ((530, "InternalDependencyException", {"Message": "no"}), (503, "endpoint_not_ready")),
    "creating": (
        (400, "ValidationError", {"message": f"Endpoint {NAME} of {fake_api_gateway.ACCOUNT} is not in service."}),
        (503, "endpoint_not_ready"),
    ),
    "too large": ((413, "RequestEntityTooLargeException", {"message": "large"}), (413, "too_long")),
    "too large for SageMaker": (
        (400, "ValidationError", {"message": "1 validation error detected: Value at 'body' failed to satisfy "
         "constraint: Member must have length less than or equal to 6291456"}),
        (413, "too_long"),
    ),
    "too large for a serverless endpoint": (
        (400, "ValidationError", {"message": "Request 6ba7b810-9dad-11d1-80b4-00c04fd430c8 has oversize body."}),
        (413, "too_long"),
    ),
    "denied": ((403, "AccessDeniedException", {"Message": ARN}), (502, "model_error")),
    "expired": ((403, "ExpiredTokenException", {"message": "The security token expired"}), (502, "model_error")),
    "unheard of": ((418, "TeapotException", {"message": TFS}), (502, "model_error")),
    "no words at all": ((502, "", {}), (502, "model_error")),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_what_sagemaker_refuses_becomes_a_clear_answer(function, stand, case, capsys):
    stand.refuses, expected = FAILURES[case]
    assert refused(function, post(picture())) == expected
    assert len(stand.asked) == 1, "asked once: whoever waits decides whether to ask again"
    logged = capsys.readouterr().out
    assert TFS not in logged or "Teapot" in logged, "what a container said may hold a picture"
    headers = function.handler(post(picture()))["headers"]
    assert ("retry-after" in headers) == (expected[0] in (429, 503))


def test_an_endpoint_that_is_not_there_is_503(function, stand, monkeypatch):
    monkeypatch.setenv("ENDPOINT", "plant-disease-gone")
    assert refused(function, post(picture())) == (503, "no_endpoint")
    assert stand.asked[0]["endpoint"] == "plant-disease-gone"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"body",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"error": "' + TFS.encode() + b'"}',
        b'{"error": {"status": 200}}',
        b'{"error": {"status": 99, "code": "a", "message": "b"}}',
        b'{"error": {"status": true, "code": "a", "message": "b"}}',
    ],
)
def test_an_answer_that_is_none_is_502(function, stand, monkeypatch, answer):
    monkeypatch.setitem(stand.endpoints, NAME, lambda *_: answer)
    assert refused(function, post(picture())) == (502, "model_error")


def test_the_endpoints_refusal_becomes_the_status(function, stand, monkeypatch):
    for status in (400, 413, 415, 422, 503):
        error = {"error": {"status": status, "code": "because", "message": "it says so"}}
        monkeypatch.setitem(stand.endpoints, NAME, lambda *_, error=error: json.dumps(error).encode())
        assert answered(function, post(picture())) == (status, error)


def test_an_answer_longer_than_lambda_gives_back_is_502(function, stand, monkeypatch):
    monkeypatch.setitem(stand.endpoints, NAME, lambda *_: b'{"detections": "' + b"x" * 6_000_000 + b'"}')
    assert refused(function, post(picture())) == (502, "answer_too_long")


def test_an_endpoint_that_does_not_answer_in_time_is_504(function, stand, monkeypatch):
    monkeypatch.setattr(function, "WAIT", 0.2)
    function._client.cache_clear()
    stand.hangs = threading.Event()
    assert refused(function, post(picture())) == (504, "endpoint_slow")
    stand.hangs.set()
    stand.hangs = None


def test_an_endpoint_that_cannot_be_reached_is_503(function, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{free.getsockname()[1]}")
    function._client.cache_clear()
    assert refused(function, post(picture())) == (503, "endpoint_unreachable")


def test_a_connection_that_died_while_lambda_slept_is_made_anew_once(function, stand):
    stand.drops = 1
    assert answered(function, post(picture()))[0] == 200
    stand.drops = 2
    assert refused(function, post(picture())) == (503, "endpoint_unreachable")


def test_with_a_key_only_the_key_lets_in(function, stand, monkeypatch):
    monkeypatch.setenv("ACCESS", "key")
    monkeypatch.setenv("KEY_SHA256", hashlib.sha256(KEY.encode()).hexdigest())
    for path, method in (("/predict", "POST"), ("/health", "GET")):
        for given, expected in {
            "": "key_missing",
            "x": "key_wrong",
            KEY[:-1]: "key_wrong",
            KEY + " ": "key_wrong",
            KEY.upper(): "key_wrong",
            f"{KEY},{KEY}": "key_wrong",
            hashlib.sha256(KEY.encode()).hexdigest(): "key_wrong",
            "ключ\udce4": "key_wrong",
        }.items():
            made = event(method, path, picture(), {"content-type": "image/jpeg", "x-api-key": given})
            assert refused(function, made) == (401, expected)
    assert refused(function, post(picture(), query=f"x-api-key={KEY}")) == (401, "key_missing")
    assert stand.asked == []
    assert answered(function, post(picture(), **{"X-Api-Key": KEY}))[0] == 200


@pytest.mark.parametrize(
    ("access", "known"), [("key", ""), ("", ""), ("Open", ""), ("", hashlib.sha256(b"").hexdigest())]
)
def test_a_function_that_was_set_up_wrong_lets_nobody_in(function, stand, monkeypatch, access, known):
    monkeypatch.setenv("ACCESS", access)
    monkeypatch.setenv("KEY_SHA256", known)
    for given in ("", "x", KEY):
        assert answered(function, post(picture(), **{"x-api-key": given}))[0] == 401
    monkeypatch.delenv("ACCESS")
    monkeypatch.delenv("KEY_SHA256")
    assert answered(function, post(picture(), **{"x-api-key": KEY}))[0] == 401
    assert stand.asked == []


def test_with_iam_only_whom_api_gateway_has_checked_comes_in(function, stand, monkeypatch):
    monkeypatch.setenv("ACCESS", "iam")
    caller = {"accessKey": "AKIA", "accountId": fake_api_gateway.ACCOUNT, "userArn": "arn:aws:iam::1:user/me"}
    made = post(picture())
    for authorizer in (None, {}, {"iam": None}, {"jwt": {"claims": {}}}):
        made["requestContext"]["authorizer"] = authorizer
        assert refused(function, made) == (403, "not_signed")
    assert stand.asked == []
    signed = event("POST", "/predict", picture(), {"content-type": "image/jpeg"}, caller=caller)
    assert answered(function, signed)[0] == 200


def test_health_asks_the_model_and_a_good_answer_holds_for_a_while(function, stand, monkeypatch):
    for _ in range(3):
        assert answered(function, event("GET", "/health")) == (200, {"status": "ok", "model": "detector"})
    assert len(stand.asked) == 1
    assert Image.open(io.BytesIO(stand.asked[0]["body"])).size == (32, 32)
    monkeypatch.setattr(function, "HEALTHY", 0)
    stand.refuses = model_error(500, TFS)
    assert refused(function, event("GET", "/health")) == (502, "model_error")
    assert refused(function, event("GET", "/health")) == (502, "model_error"), "no bad answer is kept"
    stand.refuses = None
    assert answered(function, event("GET", "/health"))[0] == 200


def test_health_is_answered_to_head_without_a_body(function, stand):
    got = function.handler(event("HEAD", "/health"))
    assert (got["statusCode"], got["body"], len(stand.asked)) == (200, "", 1)


@pytest.mark.parametrize(("status", "code"), [(429, "busy"), (503, "starting")])
def test_health_says_what_the_endpoint_says_of_itself(function, stand, monkeypatch, status, code):
    error = {"error": {"status": status, "code": code, "message": "not now"}}
    monkeypatch.setitem(stand.endpoints, NAME, lambda *_: json.dumps(error).encode())
    assert answered(function, event("GET", "/health")) == (status, error)


def test_health_is_bad_where_the_endpoint_refuses_every_picture(function, stand, monkeypatch):
    error = json.dumps({"error": {"status": 415, "code": "not_a_picture", "message": "no"}}).encode()
    monkeypatch.setitem(stand.endpoints, NAME, lambda *_: error)
    assert refused(function, event("GET", "/health")) == (502, "model_error")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *((method, "/predict", 405) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")),
        *((method, "/health", 405) for method in ("POST", "OPTIONS")),
        *(("POST", path, 404) for path in ("/", "/predict/", "/Predict", "/../etc/passwd", "/favicon.ico", None)),
    ],
)
def test_other_methods_are_405_and_other_paths_404(function, stand, method, path, status):
    assert answered(function, event(method, path, picture(), {"content-type": "image/jpeg"}))[0] == status
    assert stand.asked == []
    allowed = function.handler(event("GET", "/predict"))["headers"]["allow"]
    assert allowed == "POST"


def test_a_mistake_of_our_own_is_500_without_a_word_of_it_and_is_logged(function, monkeypatch, capsys):
    monkeypatch.delenv("ENDPOINT")
    assert refused(function, post(picture())) == (500, "internal")
    logged = capsys.readouterr()
    assert "KeyError: 'ENDPOINT'" in logged.err


def test_one_line_is_logged_per_request_without_picture_or_key(function, monkeypatch, capsys):
    monkeypatch.setenv("ACCESS", "key")
    monkeypatch.setenv("KEY_SHA256", hashlib.sha256(KEY.encode()).hexdigest())
    data = picture()
    for given in (KEY, "another-key"):
        function.handler(post(b64(data), **{"x-api-key": given}))
    lines = capsys.readouterr().out.splitlines()
    good, bad = map(json.loads, lines)
    assert (good["method"], good["path"], good["status"]) == ("POST", "/predict", 200)
    assert (bad["status"], bad["code"]) == (401, "key_wrong")
    for secret in (KEY, "another-key", base64.b64encode(data).decode()[:40], "secret-of-aws"):
        assert secret not in "".join(lines)


def test_it_imports_nothing_but_boto3_and_the_standard_library(unpacked):
    code = "import sys, lambda_function; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    environment = {"PYTHONPATH": str(unpacked), "AWS_DEFAULT_REGION": "eu-central-1", "AWS_LAMBDA_FUNCTION_NAME": "x"}
    done = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before = subprocess.run(
        [sys.executable, "-c", code.replace(", lambda_function", "")], cwd="/", capture_output=True, text=True
    )
    found = set(done.stdout.split()) - set(before.stdout.split()) - set(sys.stdlib_module_names)
    # botocore takes certifi's certificates where they are; on Lambda it has its own.
    of_boto3 = {"boto3", "botocore", "certifi", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}
    ours = {"lambda_function", "plantdoc"}
    assert ours | {"boto3"} <= found <= of_boto3 | ours | {"__mp_main__"}
    assert [path.name for path in unpacked.iterdir() if path.suffix] == ["lambda_function.py"]


@pytest.mark.parametrize("origin", ["https://leaves.example", "https://elsewhere.example"])
def test_through_http_with_cors_for_a_named_origin(function, origin):
    with fake_api_gateway.gateway(function.handler, origins=("https://leaves.example",)) as url:
        for asked in (
            urllib.request.Request(f"{url}/predict?max=3", picture(), {"content-type": "image/jpeg", "Origin": origin}),
            urllib.request.Request(f"{url}/predict", method="OPTIONS", headers={"Origin": origin}),
        ):
            with urllib.request.urlopen(asked) as got:
                named = got.headers["access-control-allow-origin"]
            assert named == (origin if origin == "https://leaves.example" else None)
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{url}/predict")
        assert error.value.code == 404


def test_a_signed_request_comes_in_through_http_and_no_other(function, monkeypatch):
    monkeypatch.setenv("ACCESS", "iam")
    ours, others = Credentials("AKIA", "of-ours"), Credentials("AKIA", "of-others")
    with fake_api_gateway.gateway(function.handler, signer=ours) as url:
        for who, status in ((ours, 200), (others, 403), (None, 403)):
            asked = AWSRequest("POST", f"{url}/predict", headers={"content-type": "image/jpeg"}, data=picture())
            if who:
                SigV4Auth(who, "execute-api", "eu-central-1").add_auth(asked)
            sent = urllib.request.Request(asked.url, asked.data, dict(asked.headers.items()))
            try:
                with urllib.request.urlopen(sent) as got:
                    assert got.status == status
            except urllib.error.HTTPError as error:
                assert error.code == status
