"""Every way of asking a bundle about a picture, each as it is asked in earnest; what comes back is in COCO's form."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_api_gateway
import running_server
from PIL import Image

from plantdoc.coco import dataset

Ask = Callable[[bytes], dict]  # a picture's bytes → the answer about it
ALL = {"threshold": 0, "max": 1000}


def through(ask: Ask, folder: Path, pictures: list[dataset.Picture]) -> list[dict]:
    """What `ask` answers about these pictures."""
    return [
        {"image_id": picture.id, "category_id": one["class_id"], "bbox": one["box"], "score": one["score"]}
        for picture in pictures
        for one in ask((folder / picture.file_name).read_bytes())["detections"]
    ]


def of_server(server: running_server.Served) -> Iterator[tuple[str, Ask]]:
    """make serve, by each content type."""

    def image(kind: str, convert: Callable[[bytes], bytes]) -> Ask:
        return lambda data: _content(server.ask(convert(data), kind, **ALL))

    yield "image/jpeg or image/png, as it is", image("image/jpeg", lambda data: data)
    yield "image/png", image("image/png", lambda data: encoded(data, "PNG"))
    yield "image/webp", image("image/webp", lambda data: encoded(data, "WEBP", lossless=True, exact=True))
    for wrapped in (False, True):
        yield (
            "application/json" + ", image_bytes" * wrapped,
            lambda data, wrapped=wrapped: _content(
                server.ask(running_server.instances(data, data, wrapped=wrapped), "application/json", **ALL)
            )["predictions"][1],
        )
    yield (
        "multipart/form-data",
        lambda data: _content(server.client.post("/invocations", files={"file": ("leaf", data)}, params=ALL)),
    )


def of_endpoint(runtime, name: str) -> Iterator[tuple[str, Ask]]:
    """The SageMaker endpoint, by boto3."""

    def invoke(kind: str, body: bytes) -> dict:
        options = ",".join(f"{key}={value}" for key, value in ALL.items())
        answer = runtime.invoke_endpoint(EndpointName=name, ContentType=kind, CustomAttributes=options, Body=body)
        return json.loads(answer["Body"].read())

    yield "endpoint, picture", lambda data: invoke("image/jpeg", data)
    yield "endpoint, JSON", lambda data: invoke("application/json", running_server.instances(data))["predictions"][0]


def of_function(handler: Callable[[dict], dict]) -> Iterator[tuple[str, Ask]]:
    """The public API's Lambda, by API Gateway's events."""

    def predict(kind: str, body: bytes) -> dict:
        query = "&".join(f"{key}={value}" for key, value in ALL.items())
        answer = handler(fake_api_gateway.event("POST", "/predict", body, {"content-type": kind}, query))
        assert answer["statusCode"] == 200, answer
        return json.loads(answer["body"])

    yield "Lambda, picture", lambda data: predict("image/png" if data.startswith(b"\x89") else "image/jpeg", data)
    yield "Lambda, JSON", lambda data: predict("application/json", running_server.instances(data))["predictions"][0]


def encoded(data: bytes, kind: str, **options: object) -> bytes:
    """The same pixels and the same way up, in another format."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.convert("RGB").save(file, kind, exif=picture.getexif(), **options)
    return file.getvalue()


def _content(response) -> dict:
    assert response.status_code == 200, response.text
    return response.json()
