"""The API's documentation: what is sent and what comes back, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from plantdoc.serving.handler import options, request

TITLE = "Plant disease detector"
ABOUT = "Finds leaves in photos and names their disease. Photos are answered and forgotten; none is kept."
_BOX = "[x, y, width, height] in pixels of the photo as displayed, from its upper left corner"


class Detection(BaseModel):
    """A leaf."""

    box: Annotated[list[float], Field(min_length=4, max_length=4, description=_BOX)]
    score: Annotated[float, Field(ge=0, le=1)]
    class_id: Annotated[int, Field(ge=0)]
    class_name: str


class Found(BaseModel):
    """Detections in one photo, best first."""

    width: Annotated[int, Field(description="px, as displayed")]
    height: Annotated[int, Field(description="px, as displayed")]
    detections: list[Detection]


class _Head(BaseModel):
    model: Annotated[str, Field(description="the model's version")]
    milliseconds: Annotated[float, Field(description="from the body's last byte to the answer")]
    threshold: Annotated[float, Field(description="detections with a lower score were left out")]


class Prediction(_Head, Found):
    """To one photo."""


class Reason(BaseModel):
    status: int
    code: Annotated[str, Field(description="for programs, like too_small")]
    message: Annotated[str, Field(description="for people")]


class Error(BaseModel):
    """Reason why there is no answer."""

    error: Reason


class Predictions(_Head):
    """To several photos, in their order; a photo that cannot be answered has an error in its place."""

    predictions: list[Found | Error]


class Scores(BaseModel):
    """mAP@50 on the test pictures, with its 95 % interval."""

    map50: float | None
    map50_low: float | None
    map50_high: float | None
    pictures: int | None


class Info(BaseModel):
    """About the model and this server."""

    model: str | None
    threshold: Annotated[
        float | None, Field(description="the model's own; null where a model elsewhere has not told it yet")
    ]
    max_bytes: Annotated[int, Field(description="of a body")]
    max_pixels: Annotated[
        int,
        Field(description="of a photo; of a model elsewhere, which does not tell, the default of deploy.max_pixels"),
    ]
    classes: list[str]
    scores: Scores
    note: str
    attribution: str
    trace: Annotated[str, Field(description="the command that says which revision made the model")]
    source: Annotated[str, Field(description="who answers: local, sagemaker or api")]


class Example(BaseModel):
    name: str
    url: str


_REASONS = {
    400: "wrong JSON, form, option, compression or base64, pixels as lists, or nothing was sent",
    403: "a page of another origin asks, or the server is asked by a name that it does not have",
    408: "the body did not come in time",
    413: f"more than {request.MAX_BYTES / 1e6:g} MB, {request.MAX_BATCH} photos, or pixels than allowed",
    415: "another content type or encoding, or what was sent is no JPEG, PNG or WebP",
    422: "the photo is damaged or too small, or a JPEG of too many scans",
    429: "too many requests wait already",
    500: "a fault of the server",
    502: "a model elsewhere does not answer",
    503: "a model elsewhere is starting, or the server is stopping or has too many connections; see Retry-After",
}
REFUSALS = {status: {"model": Error, "description": text} for status, text in _REASONS.items()}

_FILE = {"type": "string", "format": "binary"}
_B64 = {
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
}
_OPTIONS = {
    "threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "max": {"type": "integer", "minimum": 1, "maximum": options.MAX_DETECTIONS},
}
_ROWS = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "maxItems": request.MAX_BATCH,
            "items": {
                "oneOf": [
                    _B64,
                    {"type": "object", "properties": {"image_bytes": _B64}, "required": ["image_bytes"]},
                ]
            },
        },
        **_OPTIONS,
    },
}
_ONE = {"type": "object", "required": ["b64"], "properties": {**_B64["properties"], **_OPTIONS}}
_FILES = {"type": "array", "items": _FILE, "maxItems": request.MAX_BATCH}
_FORM = {"type": "object", "properties": {"file": _FILES, **_OPTIONS}}
# FastAPI would read the body itself if it knew of it; so it is described by hand.
INVOCATIONS = {
    "requestBody": {
        "required": True,
        "description": "A photo, a form with photos, or TensorFlow Serving's JSON. Instances are answered with a list, "
        "and so is a form with more than one file. The bytes decide: a photo may also come as another image type, as "
        "application/octet-stream, or without a type, with gzip or deflate as its Content-Encoding. From a "
        "model on this computer, HEIC and AVIF are read too. The options may also stand in the form, beside the "
        f"instances, or in the header {request.ATTRIBUTES}.",
        "content": {kind: {"schema": _FILE} for kind in request.TYPES}
        | {request.JSON: {"schema": {"oneOf": [_ROWS, _ONE]}}, request.FORM: {"schema": _FORM}},
    },
    "parameters": [
        {
            "name": "threshold",
            "in": "query",
            "description": "leave out detections with a lower score; default: the model's own",
            "schema": _OPTIONS["threshold"],
        },
        {
            "name": "max",
            "in": "query",
            "description": "keep so many of the best; default: all",
            "schema": _OPTIONS["max"],
        },
    ],
}
