"""The page and the API with a model elsewhere: what is passed on, and what its refusals and failures become."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
import running_server

from plantdoc.core.errors import UserError
from plantdoc.server.public_api_backend import PublicApi
from plantdoc.server.sagemaker_backend import Endpoint
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options

ONE = {"model": "detector@v1.2.0", "milliseconds": 7.0, "threshold": 0.4, "width": 3, "height": 2, "detections": []}
PNG, WEBP = b"\x89PNG some", b"RIFFsome"
FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + PNG + b"\r\n--b--\r\n"
KEY = "planted-key-93"


class Elsewhere:
    """An HTTP server that notes what it is asked, and gives the next of `answers`, (status, content, headers)."""

    def __init__(self):
        self.asked: list[dict] = []
        self.answers: list[tuple[int, bytes, dict]] = []
        elsewhere = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                parts = urlsplit(self.path)
                elsewhere.asked.append(
                    {"path": parts.path, "query": parse_qs(parts.query), "headers": self.headers, "body": body}
                )
                status, content, headers = elsewhere.answers.pop(0)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def will(self, content: dict | bytes, status: int = 200, **headers: str) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers.append((status, text, {name.replace("_", "-"): value for name, value in headers.items()}))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere():
    server = Elsewhere()
    yield server
    server.stop()


@pytest.fixture(params=["endpoint", "api"])
def service(request, elsewhere, monkeypatch):
    """Both ways to the model, asked alike."""
    return make(request.param, elsewhere, monkeypatch)


@pytest.fixture
def endpoint(elsewhere, monkeypatch):
    return make("endpoint", elsewhere, monkeypatch)


@pytest.fixture
def api(elsewhere, monkeypatch):
    return make("api", elsewhere, monkeypatch)


def make(kind: str, elsewhere: Elsewhere, monkeypatch):
    if kind == "api":
        return PublicApi(f"{elsewhere.url}/v1/", KEY)
    for name, value in {
        "AWS_ENDPOINT_URL": elsewhere.url,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, value)
    return Endpoint("plant-disease-detector", "us-east-1")


def ask(service, body: bytes = PNG, kind: str = "image/jpeg", **options) -> dict:
    return asyncio.run(service.predict(kind, body, Options(**options)))


def refused(service, *arguments) -> Refused:
    with pytest.raises(Refused) as caught:
        ask(service, *arguments)
    return caught.value


def test_a_picture_is_passed_on_as_it_is_and_so_is_its_answer(service, elsewhere):
    for body, kind in ((PNG, "image/png"), (PNG, "image/jpeg"), (FORM, "multipart/form-data; boundary=b")):
        elsewhere.will(ONE)
        assert ask(service, body, kind) == ONE
        assert elsewhere.asked[-1]["body"] == PNG
        assert elsewhere.asked[-1]["headers"]["Content-Type"] == "image/png", "by what it is, not what it is called"
    assert service.about()["model"] == "detector@v1.2.0" and service.about()["threshold"] == 0.4


def test_options_go_to_an_endpoint_as_attributes(endpoint, elsewhere):
    elsewhere.will(ONE)
    ask(endpoint, threshold=0.0, most=3)
    assert elsewhere.asked[0]["path"] == "/endpoints/plant-disease-detector/invocations"
    assert elsewhere.asked[0]["headers"]["X-Amzn-SageMaker-Custom-Attributes"] == "threshold=0.0,max=3"
    assert endpoint.about()["threshold"] is None, "that was not the model's own"


def test_options_go_to_the_api_in_the_query_and_the_key_in_a_header(api, elsewhere):
    elsewhere.will(ONE)
    ask(api, threshold=0.25, most=3)
    assert elsewhere.asked[0]["path"] == "/v1/predict"
    assert elsewhere.asked[0]["query"] == {"threshold": ["0.25"], "max": ["3"]}
    assert elsewhere.asked[0]["headers"]["x-api-key"] == KEY


BATCH = json.dumps({"instances": [{"b64": base64.b64encode(PNG).decode()}, {"b64": "!"}, {"b64": "UklGRnNvbWU="}]})


def test_batch_is_one_request_and_refusals_keep_their_index(endpoint, elsewhere):
    rows = [{"width": 1, "height": 1, "detections": []}, {"error": {"status": 422, "code": "x", "message": "y"}}]
    head = {key: ONE[key] for key in ("model", "milliseconds", "threshold")}
    elsewhere.will(head | {"predictions": rows})
    answer = ask(endpoint, BATCH.encode(), "application/json")
    assert elsewhere.asked[0]["body"] == running_server.instances(PNG, WEBP)
    assert [each.get("error", {}).get("code") for each in answer["predictions"]] == [None, "wrong_base64", "x"]


def test_a_batch_is_a_question_for_each_picture_to_the_api(api, elsewhere):
    elsewhere.will(ONE)
    elsewhere.will({"error": {"status": 422, "code": "damaged", "message": "m"}}, 422)
    answer = ask(api, BATCH.encode(), "application/json")
    assert [each["body"] for each in elsewhere.asked] == [PNG, WEBP]
    assert answer["predictions"] == [
        {"width": 3, "height": 2, "detections": []},
        {"error": {"status": 400, "code": "wrong_base64", "message": "an instance is not base64"}},
        {"error": {"status": 422, "code": "damaged", "message": "m"}},
    ]
    assert (answer["model"], answer["threshold"]) == ("detector@v1.2.0", 0.4)


def test_a_batch_without_a_good_picture_asks_nobody(service, elsewhere):
    answer = ask(service, b'{"instances": [{"b64": "!"}]}', "application/json")
    assert answer["predictions"][0]["error"]["code"] == "wrong_base64" and not elsewhere.asked


def test_a_refusal_in_an_answer_becomes_the_status(endpoint, elsewhere):
    elsewhere.will({"error": {"status": 422, "code": "damaged", "message": "cut short"}})
    error = refused(endpoint)
    assert (error.status, error.code, error.message) == (422, "damaged", "cut short")


@pytest.mark.parametrize(
    ("status", "type", "message", "expected"),
    [
        (400, "ValidationError", "Endpoint x of account 123456789012 not found.", (502, "no_endpoint")),
        (413, "ValidationError", "Request entity too large", (413, "too_long")),
        (400, "ValidationError", "Request 6ba7b810-9dad-11d1 has oversize body.", (413, "too_long")),
        (429, "ModelNotReadyException", "resources are being provisioned", (503, "endpoint_starting")),
        (503, "ServiceUnavailable", "no", (503, "endpoint_starting")),
        (
            424,
            "ModelError",
            'Received server error (0) from primary with message "Your invocation timed out while waiting for a '
            'response from container primary."',
            (503, "endpoint_starting"),
        ),
        (424, "ModelError", "Received server error (500) from primary with message", (502, "no_answer")),
        (400, "ThrottlingException", "Rate exceeded", (429, "busy")),
        (424, "ModelError", "see arn:aws:logs:123456789012", (502, "no_answer")),
        (403, "AccessDeniedException", "user arn:aws:iam::123456789012:user/me", (502, "no_answer")),
    ],
)
def test_what_aws_says_is_logged_and_not_answered(endpoint, elsewhere, caplog, status, type, message, expected):
    for _ in range(3):  # boto3 asks again where that may help
        elsewhere.will({"message": message}, status, x_amzn_errortype=type)
    error = refused(endpoint)
    assert (error.status, error.code) == expected
    assert "123456789012" not in error.message and KEY not in error.message
    assert message in caplog.text


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (401, {"error": {"status": 401, "code": "key_wrong", "message": "m"}}, (502, "no_access")),
        (403, b"{}", (502, "no_access")),
        (413, {"error": {"status": 413, "code": "too_long", "message": "m"}}, (413, "too_long")),
        (413, b'{"message": "Request Too Long"}', (413, "too_long")),
        (422, {"error": {"status": 200, "code": "odd", "message": "m"}}, (502, "no_answer")),
        (422, {"error": {"status": 99999, "code": "odd", "message": "m"}}, (502, "no_answer")),
        (200, b"[" * 100_000, (502, "no_answer")),
        (429, b'{"message": "Too Many Requests"}', (429, "throttled")),
        (503, b'{"message": "Service Unavailable"}', (503, "api_unavailable")),
        (504, b'{"message": "Endpoint request timed out"}', (503, "api_unavailable")),
        (500, b'{"message": "Internal Server Error"}', (502, "no_answer")),
        (503, {"error": {"status": 503, "code": "endpoint_starting", "message": "m"}}, (503, "endpoint_starting")),
        (500, b"<html>", (502, "no_answer")),
        (200, b"<html>", (502, "no_answer")),
        (200, b"[]", (502, "no_answer")),
        (200, b'{"hello": 1}', (502, "no_answer")),
        (200, {"error": "odd"}, (502, "no_answer")),
    ],
)
def test_what_the_api_says_instead(api, elsewhere, status, content, expected):
    elsewhere.will(content, status)
    error = refused(api)
    assert (error.status, error.code) == expected


def test_what_is_too_large_is_refused_before_anybody_is_asked(service, elsewhere):
    error = refused(service, PNG + bytes(4_000_000), "image/png")
    assert (error.status, error.code) == (413, "too_long") and "4 MB" in error.message
    assert not elsewhere.asked
    elsewhere.will(ONE | {"predictions": [ONE]})
    rows = running_server.instances(PNG + bytes(4_000_000), PNG)
    answer = ask(service, rows, "application/json")
    assert [each.get("error", {}).get("code") for each in answer["predictions"]] == ["too_long", None]


def test_pictures_that_are_too_large_together_are_refused_before_the_endpoint_is_asked(endpoint, elsewhere):
    error = refused(endpoint, running_server.instances(*[PNG + bytes(2_000_000)] * 2), "application/json")
    assert (error.status, error.code) == (413, "too_long") and not elsewhere.asked


def test_the_models_own_threshold_is_asked_for_again_when_it_answers(service, elsewhere):
    """At the start it does not; the page then asks with a threshold of its own."""

    async def main() -> None:
        elsewhere.will({"error": {"status": 503, "code": "endpoint_starting", "message": "m"}})
        await service.start()
        await service._first
        assert service.about()["threshold"] is None
        elsewhere.will(ONE | {"threshold": 0.05})
        elsewhere.will(ONE)
        assert (await service.predict("image/png", PNG, Options(threshold=0.05)))["threshold"] == 0.05
        await service._first
        assert service.about()["threshold"] == 0.4
        elsewhere.will(ONE | {"threshold": 0.05})
        await service.predict("image/png", PNG, Options(threshold=0.05))
        assert len(elsewhere.asked) == 4, "it is known"
        await service.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "key", "taken"),
    [
        ("http://localhost:8080", KEY, True),
        ("http://127.0.0.2", KEY, True),
        ("http://[::1]:8080/predict", KEY, True),
        ("https://api.example.org", KEY, True),
        ("http://api.example.org", None, True),
        ("http://api.example.org", KEY, False),
        ("HTTP://192.0.2.1:8080", KEY, False),
        ("http://localhost.example.org", KEY, False),
    ],
)
def test_the_key_is_not_sent_unencrypted_to_another_machine(url, key, taken):
    with contextlib.nullcontext() if taken else pytest.raises(UserError, match="unencrypted: write https"):
        PublicApi(url, key)


def test_bodies_of_those_who_hung_up_are_not_kept(service):
    """Sixteen are asked about at once; of the others nothing waits behind them in the pool."""
    hold, asked = threading.Event(), []

    def one(picture: bytes, options: Options) -> dict:
        asked.append(picture)
        hold.wait(running_server.PATIENCE)
        return ONE

    service.one = one

    async def main() -> None:
        kept = [asyncio.create_task(service.predict("image/png", PNG, Options())) for _ in range(16)]
        while len(asked) < 16:
            await asyncio.sleep(0.01)
        gone = [asyncio.create_task(service.predict("image/png", bytes([i]) * 1000, Options())) for i in range(50)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert service._threads._work_queue.qsize() == 0
        hold.set()
        assert [await task for task in kept] == [ONE] * 16

    asyncio.run(main())
    assert set(asked) == {PNG}


def test_on_loopback_another_name_spends_no_money(elsewhere):
    """A page elsewhere whose own name was made to point here."""
    for _ in range(5):
        elsewhere.will(ONE)
    with running_server.running("--api", elsewhere.url) as server:
        port = server.url.rpartition(":")[2]
        for host in ("evil.example.org", f"evil.example.org:{port}", "127.0.0.1.evil.example.org"):
            error = server.client.post("/invocations", content=PNG, headers={"Content-Type": "image/png", "Host": host})
            assert (error.status_code, error.json()["error"]["code"]) == (403, "other_name")
        for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
            headers = {"Content-Type": "image/png", "Host": host}
            assert server.client.post("/invocations", content=PNG, headers=headers).json() == ONE
        assert server.client.get("/info").json()["max_bytes"] == 4_000_000


def test_the_key_follows_no_redirect(api, elsewhere):
    elsewhere.will(b"", 302, Location=f"{elsewhere.url}/elsewhere")
    assert refused(api).code == "no_answer"
    assert len(elsewhere.asked) == 1


def test_nobody_there_is_a_502(service, elsewhere):
    elsewhere.stop()
    error = refused(service)
    assert (error.status, error.code) == (502, "no_answer")
    assert "127.0.0.1" not in error.message


def test_without_credentials_there_is_no_way_to_an_endpoint(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="no AWS credentials"):
        Endpoint("plant-disease-detector", "us-east-1")


def test_bad_questions_are_refused_here(service, elsewhere):
    assert refused(service, b"{", "application/json").code == "not_json"
    assert refused(service, b"x", "text/plain").code == "content_type"
    assert not elsewhere.asked


@pytest.mark.parametrize(
    "url", ["ftp://x", "example.org", "https://", "https://user:secret@example.org", "https://a/?b"]
)
def test_what_is_no_url_of_an_api_is_said(url):
    with pytest.raises(UserError, match="no URL"):
        PublicApi(url)
