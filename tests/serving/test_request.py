"""plantdoc.serving.handler.request and plantdoc.serving.handler.response: what is sent and what comes back."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest

from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.uploaded_image import UploadedImage


def sent(*instances: object) -> bytes:
    return json.dumps({"instances": list(instances)}).encode()


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def refused(content_type: str, body: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        request.pictures(content_type, body)
    return caught.value


@pytest.mark.parametrize("kind", [*request.TYPES, "IMAGE/JPEG", "image/png; charset=binary"])
def test_a_picture_is_the_body(kind):
    assert request.pictures(kind, b"abc") == ([b"abc"], False)


def test_json_holds_several_in_either_form():
    body = sent(b64(b"one"), {"image_bytes": b64(b"two")})
    assert request.pictures("application/json; charset=utf-8", body) == ([b"one", b"two"], True)


def test_what_is_wrong_with_one_takes_its_place():
    wrong = [
        {"b64": "?"},
        {"b64": 7},
        {"b64": "é"},
        {},
        None,
        "text",
        b64(b"x") | {"orientation": 3},
        {"image_bytes": "x"},
    ]
    found, _ = request.pictures(request.JSON, sent(b64(b"one"), *wrong, b64(b"two")))
    assert (found[0], found[-1]) == (b"one", b"two")
    assert [each.status for each in found[1:-1]] == [400] * len(wrong)
    assert {each.code for each in found[1:-1]} == {"wrong_base64", "wrong_json"}


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("text/plain", b"abc", 415, "content_type"),
        ("", b"abc", 415, "content_type"),
        ("image/gif", b"abc", 415, "content_type"),
        ("image/jpeg", b"", 400, "empty"),
        ("application/json", b"", 400, "not_json"),
        ("application/json", b"{", 400, "not_json"),
        ("application/json", b"\xff\xfe{", 400, "not_json"),
        ("application/json", b"[" * 300, 400, "not_json"),
        ("application/json", b"[" * 100_000, 413, "too_many_pictures"),
        ("application/json", b"9" * 10_000, 400, "not_json"),
        ("application/json", b"[]", 400, "wrong_json"),
        ("application/json", b'{"inputs": []}', 400, "wrong_json"),
        ("application/json", b'{"instances": {"b64": "eA=="}}', 400, "wrong_json"),
        ("application/json", b'{"instances": []}', 400, "empty"),
    ],
)
def test_what_cannot_be_read_is_refused(kind, body, status, code):
    error = refused(kind, body)
    assert (error.status, error.code) == (status, code) and error.message


def test_too_much_is_refused():
    assert refused(request.JSON, sent(*[b64(b"x")] * 33)).code == "too_many_pictures"
    assert len(request.pictures(request.JSON, sent(*[b64(b"x")] * 32))[0]) == 32
    assert refused("image/png", bytes(request.MAX_BYTES + 1)).code == "too_long"


@pytest.mark.parametrize("piece", [b'{"":0}', b"{}", b"[]"])
def test_millions_of_empty_instances_are_refused_before_they_are_read(piece):
    body = b'{"instances": [' + b",".join([piece] * 100_000) + b"]}"
    tracemalloc.start()
    assert refused(request.JSON, body).code == "too_many_pictures"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_options_are_read():
    assert request.options({}) == request.Options(None, None)
    assert request.options({"threshold": "0.25", "max": "7"}) == request.Options(0.25, 7)


@pytest.mark.parametrize(
    "values",
    [{"threshold": t} for t in ("", "a", "-0.1", "1.1", "nan", "inf")]
    + [{"max": m} for m in ("0", "1001", "2.5", "x", "9" * 5000)]
    + [{"treshold": "0.5"}],
)
def test_other_options_are_refused(values):
    with pytest.raises(Refused) as caught:
        request.options(values)
    assert caught.value.status == 400
    assert next(iter(values.values())) not in caught.value.message or len(next(iter(values.values()))) < 2


ROW = {
    "boxes": [[1.00049, 2, 3, 4], [5, 6, 7, 8], [9, 9, 9, 9], [0, 0, 0, 0]],
    "scores": [0.9000004, 0.5, 0.4, 0.0],
    "class_ids": [1, 0, 1, -1],
    "class_names": ["rust", "scab", "rust", ""],
}
IMAGE = UploadedImage(b"", 1, 60, 40)


def test_detections_down_to_the_threshold_best_first():
    found = response.of_one(IMAGE, ROW, 0.5)
    assert found == {
        "width": 60,
        "height": 40,
        "detections": [
            {"box": [1.0, 2, 3, 4], "score": 0.9, "class_id": 1, "class_name": "rust"},
            {"box": [5, 6, 7, 8], "score": 0.5, "class_id": 0, "class_name": "scab"},
        ],
    }
    assert len(response.of_one(IMAGE, ROW, 0.0)["detections"]) == 3
    assert len(response.of_one(IMAGE, ROW, 0.0, most=1)["detections"]) == 1


def test_one_answer_is_flat_and_several_are_a_list():
    one, wrong = response.of_one(IMAGE, ROW, 0.95), Refused(422, "damaged", "it is damaged")
    head = {"model": "detector@v1.0.0", "milliseconds": 12.3, "threshold": 0.95}
    assert response.body([one], False, "detector@v1.0.0", 0.95, 12.34) == head | one
    error = {"error": {"status": 422, "code": "damaged", "message": "it is damaged"}}
    many = response.body([one, wrong], True, "detector@v1.0.0", 0.95, 12.34)
    assert many == head | {"predictions": [one, error]}
    with pytest.raises(Refused, match="it is damaged"):
        response.body([wrong], False, "detector@v1.0.0", 0.95, 12.34)
