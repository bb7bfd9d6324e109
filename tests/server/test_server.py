"""The server as a person starts it, with a model whose answers are known: what it answers, refuses and counts."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import httpx
import pytest
import rectangle_bundles
import running_server
from PIL import Image

pytestmark = pytest.mark.slow
BOXES = {"red": (30, 10, 50, 30), "green": (80, 50, 40, 20), "blue": (8, 54, 40, 24)}
WITHIN = 1.5  # px, of a picture of 126 × 84 that the model sees at 128 × 85
# The model reads a file at every question, so that a test can break it.
MORTAL = """
class Mortal(tf.Module):
    def __init__(self):
        super().__init__()
        self.loaded = tf.saved_model.load(folder / bundle.MODEL)
        self.asked = self.loaded.signatures["serving_default"]
        self.life = tf.Variable(sys.argv[5])  # what is read from a constant name is read once

    @tf.function(input_signature=[
        tf.TensorSpec([None], tf.string, "image_bytes"), tf.TensorSpec([None], tf.int32, "orientation")
    ])
    def serve(self, image_bytes, orientation):
        # The file is empty. What nothing came of would be taken out of the graph.
        return self.asked(image_bytes=image_bytes + tf.io.read_file(self.life), orientation=orientation)

bundle.export(Mortal(), out.parent / "mortal")
"""


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> Path:
    """A file without which the model fails."""
    file = tmp_path_factory.mktemp("life") / "secret-place"
    file.touch()
    return file


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory, life):
    unpacked = tmp_path_factory.mktemp("served") / "unpacked"
    unpacked.mkdir()
    script = (
        rectangle_bundles.MAKE.format(paths=[str(root / "src"), str(root / "tests/support")], root=str(root)) + MORTAL
    )
    about = [json.dumps(rectangle_bundles.SERVING), "[0.9, 0.8, 0.7]"]
    command = [sys.executable, "-c", script, unpacked, unpacked.with_name("made.tar.gz"), *about, life]
    subprocess.run(command, check=True, capture_output=True)
    (unpacked / "1").rename(unpacked.with_name("immortal"))
    unpacked.with_name("mortal").rename(unpacked / "1")
    with running_server.running(unpacked, "--threads", "1") as process:
        yield process


def encoded(kind: str = "JPEG", boxes=BOXES, size=(126, 84), turned: int = 1, mode: str = "RGB") -> bytes:
    """A picture with rectangles; `turned`: stored so that this EXIF orientation shows it upright."""
    import rectangle_detector

    image = rectangle_detector.picture(*size, boxes)
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
    if turned != 1:
        image = image.transpose(back[turned])
    exif = Image.Exif()
    exif[0x0112] = turned
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    file = io.BytesIO()
    image.convert(mode).save(file, kind, exif=exif, **options) if turned != 1 else image.convert(mode).save(
        file, kind, **options
    )
    return file.getvalue()


def png_header(width: int, height: int, rows: bytes = b"") -> bytes:
    """A grey PNG file of 1 bit a pixel that says it has this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def assert_finds(answer: dict, boxes=BOXES, within: float = WITHIN) -> None:
    found = {each["class_name"]: each["box"] for each in answer["detections"]}
    assert found.keys() == boxes.keys()
    for name, box in boxes.items():
        assert found[name] == pytest.approx(box, abs=within)


def assert_refuses(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["status"], error["code"]) == (status, code)
    assert error["message"]
    for inside in (str(running_server.ROOT), "/tmp", ".py", "Traceback", "Error("):
        assert inside not in response.text


@pytest.mark.parametrize(
    ("kind", "type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("PNG", "image/jpeg")]
)
def test_a_picture_is_answered_with_its_rectangles(server, kind, type):
    response = server.ask(encoded(kind), type)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["width"], answer["height"], answer["threshold"]) == (126, 84, 0.5)
    assert answer["model"].startswith("bundle-") and answer["milliseconds"] > 0
    assert [(each["class_id"], each["score"]) for each in answer["detections"]] == [(0, 0.9), (1, 0.8), (2, 0.7)]
    assert_finds(answer)


@pytest.mark.parametrize("turned", [3, 6, 8])
def test_boxes_are_in_the_picture_as_displayed(server, turned):
    answer = server.ask(encoded(turned=turned)).json()
    assert (answer["width"], answer["height"]) == (126, 84)
    assert_finds(answer)


def test_cmyk_is_answered(server):
    assert_finds(server.ask(encoded(mode="CMYK")).json(), within=2.5)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_batch_is_one_call_of_the_model(server, wrapped):
    before = {name: server.figure(f"plantdoc_batch_size_{name}") for name in ("count", "sum")}
    kinds = ("JPEG", "PNG", "WEBP", "JPEG", "PNG")
    answer = server.ask(running_server.instances(*map(encoded, kinds), wrapped=wrapped), "application/json").json()
    assert len(answer["predictions"]) == 5
    for each in answer["predictions"]:
        assert_finds(each)
    assert server.figure("plantdoc_batch_size_count") - before["count"] == 1
    assert server.figure("plantdoc_batch_size_sum") - before["sum"] == 5


def test_a_large_batch_keeps_its_order(server):
    pictures = [encoded(boxes={name: BOXES[name]}) for name in ("red", "green", "blue")] * 7
    answer = server.ask(running_server.instances(*pictures), "application/json").json()
    names = [each["detections"][0]["class_name"] for each in answer["predictions"]]
    assert names == ["red", "green", "blue"] * 7


def test_one_bad_picture_in_a_batch_of_eight_costs_nobody_else_the_answer(server):
    noise = io.BytesIO()
    Image.effect_noise((126, 84), 90).convert("RGB").save(noise, "JPEG")
    pictures = [encoded()] * 3 + [noise.getvalue()[:2000]] + [encoded("PNG")] * 4
    answer = server.ask(running_server.instances(*pictures), "application/json").json()
    bad = answer["predictions"].pop(3)
    assert (bad["error"]["status"], bad["error"]["code"]) == (422, "damaged")
    assert len(answer["predictions"]) == 7
    for each in answer["predictions"]:
        assert_finds(each)


def test_a_form_with_one_file_is_one_picture_and_with_several_a_list(server):
    one = server.client.post("/invocations", files={"file": ("leaf.jpg", encoded())}, data={"note": "x"})
    assert_finds(one.json())
    files = [("file", ("a.jpg", encoded())), ("file", ("b.txt", b"no picture")), ("other", ("c.png", encoded("PNG")))]
    several = server.client.post("/invocations", files=files).json()["predictions"]
    assert_finds(several[0])
    assert several[1]["error"]["code"] == "not_a_picture"
    assert_finds(several[2])


def test_options_choose_by_score_and_number(server):
    assert_finds(server.ask(encoded(), threshold=0.75).json(), {name: BOXES[name] for name in ("red", "green")})
    assert_finds(server.ask(encoded(), max=1).json(), {"red": BOXES["red"]})
    assert server.ask(encoded(), threshold=0.95).json()["detections"] == []
    for options in ({"threshold": 1.1}, {"threshold": "nan"}, {"max": 0}, {"max": "two"}):
        assert_refuses(server.ask(encoded(), **options), 400, "wrong_option")
    assert_refuses(server.ask(encoded(), min=1), 400, "unknown_option")


BOMB = png_header(20000, 20000, bytes(20000 * 2501))
BAD = {
    "text": (b"certainly no picture", "image/jpeg", 415, "not_a_picture"),
    "GIF": (encoded("GIF"), "image/jpeg", 415, "not_a_picture"),
    "cut short": (encoded()[:1500], "image/jpeg", 422, "damaged"),
    "PNG cut short": (encoded("PNG")[:100], "image/png", 422, "damaged"),
    "WebP cut short": (encoded("WEBP")[:60], "image/webp", 422, "damaged"),
    "1 pixel": (encoded("PNG", {}, (1, 1)), "image/png", 422, "too_small"),
    "20,000 pixels wide and high": (png_header(20000, 20000), "image/png", 413, "too_many_pixels"),
    "bomb": (BOMB, "image/png", 413, "too_many_pixels"),
    "wrong type": (encoded(), "text/html", 415, "content_type"),
    "text without a type": (b"certainly no picture", "", 415, "content_type"),
    "nothing": (b"", "image/jpeg", 400, "empty"),
    "no JSON": (b'{"instances": [', "application/json", 400, "not_json"),
    "deep JSON": (b"[" * 100_000, "application/json", 413, "too_many_pictures"),
    "words for numbers": (b'{"instances": [NaN, Infinity, 1e999]}x', "application/json", 400, "not_json"),
    "other JSON": (b'{"inputs": []}', "application/json", 400, "wrong_json"),
    "empty batch": (b'{"instances": []}', "application/json", 400, "empty"),
    "33 pictures": (running_server.instances(*[b"x"] * 33), "application/json", 413, "too_many_pictures"),
    "no boundary": (b"x", "multipart/form-data", 400, "wrong_form"),
    "no form": (b"x", "multipart/form-data; boundary=b", 400, "wrong_form"),
    "half a form": (
        b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + encoded(),
        "multipart/form-data; boundary=b",
        400,
        "wrong_form",
    ),
    "form without a file": (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
        400,
        "empty",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_words(server, name):
    body, type, status, code = BAD[name]
    assert_refuses(server.ask(body, type), status, code)


def test_bad_instances_are_refused_in_their_places(server):
    rows = [{"b64": "!"}, {"b64": 1}, "x", {"b64": base64.b64encode(encoded()).decode()}]
    answer = server.ask(json.dumps({"instances": rows}).encode(), "application/json").json()["predictions"]
    assert [each.get("error", {}).get("code") for each in answer] == ["wrong_base64", "wrong_json", "wrong_json", None]


@pytest.mark.parametrize("said", [True, False])
def test_100_mb_are_refused_and_not_kept(server, said):
    before = server.forget_peak()
    piece = bytes(1_000_000)
    headers = {"Content-Type": "image/jpeg"} | ({"Content-Length": "100000000"} if said else {})
    response = server.client.post("/invocations", content=(piece for _ in range(100)), headers=headers)
    assert_refuses(response, 413, "too_long")
    assert server.peak() - before < 60_000_000
    assert_finds(server.ask(encoded()).json())


def test_a_bomb_takes_no_memory(server):
    before = server.forget_peak()
    assert_refuses(server.ask(BOMB, "image/png"), 413, "too_many_pixels")
    assert server.peak() - before < 30_000_000


def test_a_thousand_at_once_are_answered(server):
    before = server.figure("plantdoc_batch_size_count")
    responses = asyncio.run(running_server.at_once(server.url, [encoded()] * 1000))
    for response in responses:
        if response.status_code == 429:
            assert_refuses(response, 429, "busy")
        else:
            assert_finds(response.json())
    assert sum(response.status_code == 200 for response in responses) > 200
    assert server.figure("plantdoc_batch_size_count") - before < 900, "requests did not share calls of the model"


def test_requests_and_detections_are_counted(server):
    names = [
        'plantdoc_requests_total{route="/invocations",status="200"}',
        'plantdoc_requests_total{route="/invocations",status="415"}',
        'plantdoc_request_seconds_count{route="/invocations"}',
        'plantdoc_detections_total{class="red"}',
        'plantdoc_detections_total{class="blue"}',
        'plantdoc_batch_size_bucket{le="1.0"}',
    ]
    before = [server.figure(name) for name in names]
    server.ask(encoded(boxes={"red": BOXES["red"]}))
    server.ask(b"no picture")
    assert [server.figure(name) - value for name, value in zip(names, before, strict=True)] == [1, 1, 2, 1, 0, 1]
    assert server.figure("plantdoc_bodies") == 0
    server.client.get("/some/secret/path")
    assert "secret" not in server.client.get("/metrics").text


def test_the_access_log_has_the_request_and_not_the_picture(server):
    response = server.ask(encoded(), threshold=0.75)
    line = server.logged(response.headers["x-request-id"])
    assert line["milliseconds"] > 0 and line["time"].endswith("+00:00")
    expected = {
        "method": "POST",
        "route": "/invocations",
        "status": 200,
        "received": len(encoded()),
        "sent": len(response.content),
        "threshold": 0.75,
        "max": None,
        "pictures": 1,
        "detections": 2,
    }
    assert {key: line[key] for key in expected} == expected
    response = server.ask(b"planted", planted="planted")
    line = server.logged(response.headers["x-request-id"])
    assert (line["status"], line["error"]) == (400, "unknown_option")
    assert "planted" not in json.dumps(line)


def test_what_the_server_says_of_the_model(server):
    about = server.client.get("/info").json()
    assert about["classes"] == ["red", "green", "blue"]
    assert about["scores"] == {"map50": 0.9, "map50_low": 0.85, "map50_high": 0.95, "pictures": 100}
    expected = {"threshold": 0.5, "max_bytes": 25_000_000, "max_pixels": 50_000_000, "source": "local"}
    assert {key: about[key] for key in expected} == expected
    assert about["note"] == "drawn, not photographed" and about["attribution"] == "the tests"
    assert about["trace"] == "python scripts/trace.py unpacked", "the folder's place is nobody's business"


def test_examples_are_pictures_that_are_answered(server):
    listed = server.client.get("/examples").json()
    assert [each["name"] for each in listed] == ["1.jpg", "2.jpg"]
    picture = server.client.get(listed[1]["url"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert_finds(server.ask(picture.content).json())


@pytest.mark.parametrize("address", ["/examples/3.jpg", "/examples/..%2flabels.json", "/page/..%2fapp.py", "/nothing"])
def test_nothing_else_is_given_out(server, address):
    assert_refuses(server.client.get(address), 404, "not_found")


def test_the_page_comes_with_a_strict_policy(server, root):
    page = server.client.get("/")
    assert page.text == (root / "src/plantdoc/server/page/index.html").read_text(encoding="utf-8")
    policy = set(page.headers["content-security-policy"].split("; "))
    assert {"default-src 'self'", "img-src 'self' blob: data:", "frame-ancestors 'none'"} <= policy
    assert {"base-uri 'none'", "form-action 'none'", "object-src 'none'"} <= policy, "not all follow default-src"
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["cache-control"] == "max-age=60"
    for file in (root / "src/plantdoc/server/page").iterdir():
        assert server.client.get(f"/page/{file.name}").content == file.read_bytes()
    assert server.client.get("/docs").headers["content-type"].startswith("text/html")


def test_the_description_of_the_api_names_what_there_is(server):
    described = server.client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/ping", "/invocations", "/info", "/examples", "/examples/{name}", "/metrics"}
    post = described["paths"]["/invocations"]["post"]
    types = {"image/jpeg", "image/png", "image/webp", "application/json", "multipart/form-data"}
    assert set(post["requestBody"]["content"]) == types
    assert {each["name"] for each in post["parameters"]} == {"threshold", "max"}
    assert {"200", "400", "408", "413", "415", "422", "429", "500"} <= set(post["responses"])
    schemas = described["components"]["schemas"]
    answer = server.ask(encoded()).json()
    assert set(schemas["Prediction"]["properties"]) == set(answer)
    assert set(schemas["Detection"]["properties"]) == set(answer["detections"][0])
    assert set(schemas["Info"]["properties"]) == set(server.client.get("/info").json())


def test_a_page_of_another_site_cannot_ask(server):
    headers = {"Content-Type": "image/jpeg", "Sec-Fetch-Site": "cross-site"}
    assert_refuses(server.client.post("/invocations", content=encoded(), headers=headers), 403, "cross_site")


def test_a_model_that_fails_is_told_by_ping_and_shows_nothing_of_itself(server, life):
    """Last, since it breaks the model, and mends it."""
    assert server.client.get("/ping").status_code == 200
    life.unlink()
    failed = server.ask(encoded())
    assert_refuses(failed, 500, "failed")
    assert "secret-place" not in failed.text and "tensorflow" not in failed.text.lower()
    assert_refuses(server.client.get("/ping"), 503, "no_model")
    assert server.logged(failed.headers["x-request-id"])["status"] == 500
    assert any(failed.headers["x-request-id"] in line for line in server.said), "the log says why"
    life.touch()
    assert_finds(server.ask(encoded()).json())
    assert server.client.get("/ping").status_code == 200
