"""What browsers, curl and SageMaker's clients send has one outcome, whether server, container or Lambda is asked."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path

import container_handler
import fake_api_gateway
import httpx
import odd_pictures
import pytest
import rectangle_bundles
from PIL import Image

from plantdoc.public_api import lambda_zip
from plantdoc.registry.bundles import Bundle
from plantdoc.server import app
from plantdoc.server.limits import Limits
from plantdoc.server.local_backend import Local
from plantdoc.server.prometheus import Metrics
from plantdoc.serving.handler import base64_text, content_encoding, form, uploaded_image
from plantdoc.serving.handler.refusal import Refused

NAME = "plant-disease-detector"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
JPEG = odd_pictures.encoded(odd_pictures.image())
B64 = base64.b64encode(JPEG).decode()
assert "+" in B64 and "/" in B64
JSON = "application/json"
Outcome = (
    tuple  # of an answer: how many pictures (None: not a list), detections in each, threshold; or status, code, text
)
Ask = Callable[[str | None, bytes, str, dict[str, str]], Outcome]


def outcome(content: dict) -> Outcome:
    if "error" in content:
        return content["error"]["status"], content["error"]["code"], content["error"]["message"]
    listed = content.get("predictions")
    each = [one["error"]["code"] if "error" in one else len(one["detections"]) for one in listed or [content]]
    return None if listed is None else len(listed), each, content["threshold"]


class Decoding:
    """A model that finds one box in whatever can be decoded."""

    def ask(self, images):
        rows = []
        for image in images:
            try:
                Image.open(io.BytesIO(image.data)).load()
                rows.append(container_handler.ROW)
            except OSError:
                rows.append(uploaded_image.undecodable(image))
        return rows


def of_server() -> Ask:
    """The local server's application, in this process."""

    async def request(kind, body, query, headers) -> dict:
        bundle = Bundle(Path(), "detector", ["leaf"], rectangle_bundles.SERVING, "x")
        service = Local(bundle, Decoding(), Limits(), wait=0)
        await service.start()
        application = app.create(service, None, Metrics(), lambda line: None, Limits())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as client:
            given = headers | ({} if kind is None else {"Content-Type": kind})
            answer = await client.post(f"/invocations?{query}", content=body, headers=given)
        await service.stop()
        assert answer.status_code == answer.json().get("error", {"status": 200})["status"]
        return answer.json()

    return lambda *sent: outcome(asyncio.run(request(*sent)))


def of_container(respond: Callable[[str, str, bytes], bytes]) -> Ask:
    """The bundle's handler: options reach it as attributes alone, and its server says JSON where no type was sent."""

    def ask(kind, body, query, headers):
        pairs = [f"{name}={value}" for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True)]
        attributes = ",".join([*pairs, *filter(None, [headers.get(ATTRIBUTES)])])
        return outcome(json.loads(respond(JSON if kind is None else kind, attributes, body)))

    return ask


def of_lambda(handler: Callable[[dict], dict]) -> Ask:
    def ask(kind, body, query, headers):
        given = headers | ({} if kind is None else {"Content-Type": kind})
        answer = handler(fake_api_gateway.event("POST", "/predict", body, given, query))
        assert answer["statusCode"] == json.loads(answer["body"]).get("error", {"status": 200})["status"]
        return outcome(json.loads(answer["body"]))

    return ask


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    respond = container_handler.detector(tmp_path_factory.mktemp("bundle"))
    with (
        fake_api_gateway.runtime(plant_disease_detector=respond) as stand,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": stand.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "ENDPOINT": NAME,
            "ACCESS": "open",
        }.items():
            patch.setenv(name, value)
        function = container_handler.loaded("function", lambda_zip.FUNCTION)
        yield {"server": of_server(), "container": of_container(respond), "Lambda": of_lambda(function.handler)}


def rows(*instances: object, **more: object) -> bytes:
    return json.dumps({"instances": instances, **more}).encode()


def part(head: str, content: bytes) -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


def in_form(*parts: bytes) -> tuple[str, bytes]:
    return 'multipart/form-data; boundary="b"', b"".join(parts) + b"--b--\r\n"


FILE = part('name="file"; filename="a.jpg"', JPEG)
NONE_CHOSEN = part('name="file"; filename=""', b"")
ONE, THREE = (None, [1], 0.5), (3, [1, 1, 1], 0.5)
WRAPPED = base64.encodebytes(JPEG).decode()
TYPES = [
    "image/jpeg",
    "image/jpg",
    "image/pjpeg",
    "IMAGE/JPEG; charset=binary",
    "image/*",
    "image/png",
    "image/heic",
    "",
]
TYPES += [
    "*/*",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-image",
    "application/x-www-form-urlencoded",
]
VARIANTS = {
    "a data URL": f"data:image/jpeg;base64,{B64}",
    "a data URL with a name": f"data:image/jpeg;name=a.jpg;BASE64,{B64}",
    "line ends": WRAPPED,
    "line ends of Windows": WRAPPED.replace("\n", "\r\n"),
    "wrapped with blanks": WRAPPED.replace("\n", " "),
    "url-safe": base64.urlsafe_b64encode(JPEG).decode(),
    "url-safe without padding": base64.urlsafe_b64encode(JPEG).decode().rstrip("="),
    "without padding": B64.rstrip("="),
    "blanks for +": B64.replace("+", " "),
    "percent-encoded": urllib.parse.quote(B64, safe=""),
    "as Python writes bytes": str(base64.b64encode(JPEG)),
}
# Each of them: content type, body, query, headers, and the outcome or its first parts.
GOOD = {
    **{f"type {kind}": (kind, JPEG, "", {}, ONE) for kind in TYPES},
    "no type": (None, JPEG, "", {}, ONE),
    "JSON that is called a picture": ("image/jpeg", rows({"b64": B64}), "", {}, (1, [1], 0.5)),
    "JSON as curl -d sends it": ("application/x-www-form-urlencoded", rows({"b64": B64}), "", {}, (1, [1], 0.5)),
    "one picture in JSON": (JSON, json.dumps({"b64": B64}).encode(), "", {}, ONE),
    "one picture in JSON, wrapped": (JSON, json.dumps({"image_bytes": {"b64": B64}}).encode(), "", {}, ONE),
    "JSON of another name": ("application/vnd.api+json", rows({"b64": B64}), "", {}, (1, [1], 0.5)),
    "JSON with a BOM": (JSON, b"\xef\xbb\xbf" + rows({"b64": B64}), "", {}, (1, [1], 0.5)),
    "JSON with a signature": (JSON, rows({"b64": B64}, signature_name="serving_default"), "", {}, (1, [1], 0.5)),
    **{
        f"base64: {name}": (JSON, rows({"b64": text}, {"b64": B64}), "", {}, (2, [1, 1], 0.5))
        for name, text in VARIANTS.items()
    },
    **{
        f"base64 alone: {name}": (JSON, json.dumps({"b64": text}).encode(), "", {}, ONE)
        for name, text in VARIANTS.items()
    },
    "a wrong one of three": (
        JSON,
        rows({"b64": B64}, {"b64": "!"}, {"b64": B64}),
        "",
        {},
        (3, [1, "wrong_base64", 1], 0.5),
    ),
    "gzip": ("image/jpeg", gzip.compress(JPEG), "", {"Content-Encoding": "gzip"}, ONE),
    "gzip that nothing says": ("image/jpeg", gzip.compress(JPEG), "", {}, ONE),
    "no encoding": ("image/jpeg", JPEG, "", {"Content-Encoding": "identity"}, ONE),
    "a form": (*in_form(FILE), "", {}, ONE),
    "a form with three files": (*in_form(FILE, FILE, FILE), "", {}, THREE),
    "a form with an empty input": (*in_form(NONE_CHOSEN, FILE), "", {}, ONE),
    "a form with empty options": (*in_form(FILE, part('name="threshold"', b""), part('name="max"', b"")), "", {}, ONE),
    "a form with filename* alone": (
        *in_form(part("name=\"file\"; filename*=UTF-8''bl%C3%A4tt.jpg", JPEG)),
        "",
        {},
        ONE,
    ),
    "a form with a file without a name": (*in_form(part('name="file"', JPEG)), "", {}, ONE),
    "a form with a field that looks like a file": (*in_form(part('name="a; filename=x"', b"y"), FILE), "", {}, ONE),
    "a form with a name with quotes": (*in_form(part(r'name="file"; filename="a\"; b.jpg"', JPEG)), "", {}, ONE),
    "a form with other fields": (*in_form(part('name="note"', b"x"), FILE), "", {}, ONE),
    "threshold in the query": ("image/jpeg", JPEG, "threshold=0.95", {}, (None, [0], 0.95)),
    "threshold in the attributes": ("image/jpeg", JPEG, "", {ATTRIBUTES: "threshold=0.95, max=3"}, (None, [0], 0.95)),
    "a method of the container": ("image/jpeg", JPEG, "", {ATTRIBUTES: "tfs-method=predict,max=1"}, ONE),
    "threshold in JSON": (JSON, rows({"b64": B64}, threshold=0.95), "", {}, (1, [0], 0.95)),
    "threshold in JSON as text": (JSON, rows({"b64": B64}, threshold="0.95"), "", {}, (1, [0], 0.95)),
    "threshold in JSON with one picture": (
        JSON,
        json.dumps({"b64": B64, "threshold": 0.95, "max": None}).encode(),
        "",
        {},
        (None, [0], 0.95),
    ),
    "threshold in a form": (*in_form(FILE, part('name="threshold"', b"0.95")), "", {}, (None, [0], 0.95)),
    "threshold in a form with three files": (
        *in_form(FILE, FILE, part('name="threshold"', b" 0.95 "), FILE),
        "",
        {},
        (3, [0, 0, 0], 0.95),
    ),
    "threshold twice, the same": (
        "image/jpeg",
        JPEG,
        "threshold=0.5&threshold=0.50",
        {ATTRIBUTES: "threshold=0.5"},
        ONE,
    ),
}
PIXELS = [[[0, 12, 255]] * 40] * 40
BAD = {
    "text": ("text/plain", JPEG, "", {}, (415, "content_type")),
    "nothing": ("application/octet-stream", b"", "", {}, (400, "empty")),
    "GIF": ("image/gif", odd_pictures.encoded(odd_pictures.image("P"), "GIF"), "", {}, (415, "content_type")),
    "pixels as lists": (JSON, rows(PIXELS), "", {}, (400, "wrong_json")),
    "pixels as a list": (JSON, json.dumps(PIXELS).encode(), "", {}, (400, "wrong_json")),
    "pixels as columns": (JSON, json.dumps({"inputs": PIXELS}).encode(), "", {}, (400, "wrong_json")),
    "pixels behind a signature": (JSON, rows(PIXELS, signature_name="serving_default"), "", {}, (400, "wrong_json")),
    "a picture in JSON that is not base64": (JSON, b'{"b64": "a picture!"}', "", {}, (400, "wrong_base64")),
    "both alphabets": (JSON, json.dumps({"b64": B64.replace("+", "-")}).encode(), "", {}, (400, "wrong_base64")),
    "too little base64": (JSON, b'{"b64": "A"}', "", {}, (400, "wrong_base64")),
    "doubtful blanks": (JSON, b'{"b64": "QUJD QUJDQQ"}', "", {}, (400, "wrong_base64")),
    "another key": (JSON, rows({"b64": B64}, parameters={"threshold": 0.5}), "", {}, (400, "wrong_json")),
    "no file chosen": (*in_form(NONE_CHOSEN, NONE_CHOSEN), "", {}, (400, "empty")),
    "a form without a file": (*in_form(part('name="a"', b"x")), "", {}, (400, "empty")),
    "a form cut short": ("multipart/form-data; boundary=b", FILE, "", {}, (400, "wrong_form")),
    "a form without a boundary": ("multipart/form-data", FILE, "", {}, (400, "wrong_form")),
    "33 files": (*in_form(*[part('name="f"; filename="a"', b"x")] * 33), "", {}, (413, "too_many_pictures")),
    "threshold twice in the query": ("image/jpeg", JPEG, "threshold=0.5&threshold=0.6", {}, (400, "wrong_option")),
    "threshold in two places": (
        "image/jpeg",
        JPEG,
        "threshold=0.5",
        {ATTRIBUTES: "threshold=0.6"},
        (400, "wrong_option"),
    ),
    "threshold in query and JSON": (
        JSON,
        rows({"b64": B64}, threshold=0.6),
        "threshold=0.5",
        {},
        (400, "wrong_option"),
    ),
    "threshold twice in JSON": (
        JSON,
        b'{"b64": "QQ==", "threshold": 0.5, "threshold": 0.6}',
        "",
        {},
        (400, "wrong_option"),
    ),
    "threshold twice in a form": (
        *in_form(FILE, part('name="threshold"', b"0.5"), part('name="threshold"', b"0.6")),
        "",
        {},
        (400, "wrong_option"),
    ),
    "max in query and form": (*in_form(FILE, part('name="max"', b"2")), "max=1", {}, (400, "wrong_option")),
    "threshold out of range in JSON": (JSON, rows({"b64": B64}, threshold=2), "", {}, (400, "wrong_option")),
    "threshold that is true": (JSON, rows({"b64": B64}, threshold=True), "", {}, (400, "wrong_option")),
    "max that is no number in a form": (*in_form(FILE, part('name="max"', b"all")), "", {}, (400, "wrong_option")),
    "an unknown option": ("image/jpeg", JPEG, "min=1", {}, (400, "unknown_option")),
    "an unknown attribute": ("image/jpeg", JPEG, "", {ATTRIBUTES: "trace-id"}, (400, "unknown_option")),
    "gzip cut short": ("image/jpeg", gzip.compress(JPEG)[:-9], "", {}, (400, "wrong_encoding")),
    "AVIF in JSON": (
        JSON,
        json.dumps({"b64": base64.b64encode(b"\0\0\0\x18ftypavif" + bytes(40)).decode()}).encode(),
        "",
        {},
        None,
    ),
    "damaged": ("image/jpeg", JPEG[:600], "", {}, (422, "damaged")),
    "too small": ("image/png", odd_pictures.encoded(Image.new("RGB", (9, 9)), "PNG"), "", {}, (422, "too_small")),
}
# The container is not told of a Content-Encoding.
NAMED_ENCODINGS = {
    "deflate": ("image/jpeg", zlib.compress(JPEG), "", {"Content-Encoding": "deflate"}, ONE),
    "bare deflate": ("image/jpeg", zlib.compress(JPEG)[2:-4], "", {"Content-Encoding": "deflate"}, ONE),
    "another encoding": ("image/jpeg", JPEG, "", {"Content-Encoding": "br"}, (415, "content_encoding")),
    "gzip that is none": ("image/jpeg", JPEG, "", {"Content-Encoding": "gzip"}, (400, "wrong_encoding")),
}
# API Gateway hands JSON on as text, and so spoils what is none.
CALLED_JSON = {
    "a picture that is called JSON": (JSON, JPEG, "", {}, ONE),
    "gzip of JSON": (JSON, gzip.compress(rows({"b64": B64})), "", {"Content-Encoding": "GZIP"}, (1, [1], 0.5)),
}


@pytest.mark.parametrize("case", GOOD)
def test_it_is_taken_by_all_three(backends, case):
    *sent, expected = GOOD[case]
    assert {name: ask(*sent) for name, ask in backends.items()} == dict.fromkeys(backends, expected)


@pytest.mark.parametrize("case", BAD)
def test_it_is_refused_alike_by_all_three(backends, case):
    *sent, expected = BAD[case]
    outcomes = {name: ask(*sent) for name, ask in backends.items()}
    if expected is None:  # the local server reads what phones make, the others say what to do
        assert outcomes["server"][:2] == (422, "damaged")
        assert outcomes["container"] == outcomes["Lambda"]
        assert outcomes["Lambda"][:2] == (415, "not_read_here") and "as JPEG" in outcomes["Lambda"][2]
        return
    assert outcomes == dict.fromkeys(backends, outcomes["server"])
    assert outcomes["server"][:2] == expected


@pytest.mark.parametrize("case", NAMED_ENCODINGS)
def test_an_encoding_is_taken_where_it_is_told(backends, case):
    *sent, expected = NAMED_ENCODINGS[case]
    for name in ("server", "Lambda"):
        assert backends[name](*sent)[: len(expected)] == expected, name


@pytest.mark.parametrize("case", CALLED_JSON)
def test_bytes_that_are_called_json(backends, case):
    *sent, expected = CALLED_JSON[case]
    assert [backends[name](*sent) for name in ("server", "container")] == [expected] * 2
    assert backends["Lambda"](*sent)[0] == 400


@pytest.mark.parametrize("kind", ["text/plain", "image/gif"])
def test_the_refusal_of_a_type_names_all_that_is_taken(backends, kind):
    for name, ask in backends.items():
        message = ask(kind, b"GIF89a", "", {})[2]
        for taken in ("image/jpeg", "image/png", "image/webp", "application/octet-stream", JSON, "multipart/form-data"):
            assert taken in message, name


def test_what_a_refusal_of_pixels_says_to_send(backends):
    assert '{"instances": [{"b64": "…"}]}' in backends["server"](JSON, rows(PIXELS), "", {})[2]


def test_a_bomb_is_not_inflated():
    bomb = gzip.compress(bytes(50_000_000))
    for encoding, body in (("gzip", bomb), ("deflate", zlib.compress(bytes(50_000_000)))):
        with pytest.raises(Refused) as refused:
            content_encoding.decoded(encoding, body, 1_000_000)
        assert (refused.value.status, refused.value.code) == (413, "too_long")


def test_a_form_is_read_byte_for_byte():
    content = bytes(range(256)) + b"\r\n--not-the-boundary\r\n-b\r\n"
    parts = part('name="x"; filename="C:\\leaf.jpg"', content) + part('name="max"', "7 Blätter".encode())
    body = b"preamble\r\n" + parts + b"--b--\r\nepilogue"
    assert form.read("multipart/form-data; charset=utf-8; boundary=b", body, 9) == ([content], [("max", "7 Blätter")])


@pytest.mark.parametrize("size", range(1, 12))
def test_base64_of_every_length_is_read_in_every_form(size):
    data = bytes(range(250, 250 - size, -1))
    text = base64.b64encode(data).decode()
    for each in (text, text.rstrip("="), base64.urlsafe_b64encode(data).decode(), f" {text}\r\n"):
        assert base64_text.decoded(each) == data


EVENT = {"headers": {"Content-Type": "image/jpeg"}, "isBase64Encoded": True, "body": B64}


@pytest.mark.parametrize(
    "event",
    [
        {"httpMethod": "POST", "path": "/predict", "requestContext": {"elb": {"targetGroupArn": "arn:x"}}, **EVENT},
        {"version": "1.0", "httpMethod": "POST", "path": "/predict", "requestContext": {"stage": "x"}, **EVENT},
        {"version": "2.0", "rawPath": "/predict", "requestContext": None, **EVENT},
        {"version": "2.0", "rawPath": "/predict", "requestContext": {}, **EVENT},
        {"version": "2.0", "rawPath": "/predict", "requestContext": {"http": None}, **EVENT},
        {"version": "1.0", "path": "/predict", "requestContext": {"stage": "x"}, **EVENT},
        {"Records": [{"eventSource": "aws:s3"}]},
        {"requestContext": {"routeKey": "$connect", "connectionId": "x"}},
        {"key1": "value1"},
        [],
        None,
        "leaf",
    ],
    ids=[
        "load balancer",
        "payload 1.0",
        "no context",
        "empty context",
        "no method",
        "payload 1.0 of an authorizer",
        "bucket",
        "web socket",
        "the console's test",
        "list",
        "nothing",
        "text",
    ],
)
def test_an_event_of_another_form_is_said_to_be_one(event):
    answer = container_handler.loaded("function", lambda_zip.FUNCTION).handler(event)
    error = json.loads(answer["body"])["error"]
    assert (answer["statusCode"], error["code"]) == (501, "event_format") and "payload format 2.0" in error["message"]


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_the_function_finds_headers_in_any_case(backends, name):
    function = container_handler.loaded("function", lambda_zip.FUNCTION)
    for kind, expected in (("image/jpeg", ONE), ("application/pdf", (415, "content_type"))):
        made = fake_api_gateway.event("POST", "/predict", JPEG, {"content-type": kind})
        made["headers"][name] = made["headers"].pop("content-type")
        assert outcome(json.loads(function.handler(made)["body"]))[: len(expected)] == expected
