"""Requests of clients, understood alike by the local server, SageMaker's container and the public API's Lambda.

A body holds one picture, JSON with one or several, or a form with files: of content types that may stand for any of
these, the bytes decide. Options may stand in the query, in a header, in the JSON and in the form. Travels in the bundle
and in the Lambda's zip: it needs the standard library, and nothing of ours but what travels there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plantdoc.decoder import file_kind
from plantdoc.serving.handler import base64_text, content_encoding, form
from plantdoc.serving.handler import options as request_options
from plantdoc.serving.handler.options import NAMES, Options
from plantdoc.serving.handler.refusal import Refused, too_long, too_many

TYPES = tuple(file_kind.MIME.values())
JSON, FORM = "application/json", form.TYPE
# What programs send that know no better, among them curl by itself and SageMaker's clients.
ANY = ("", "application/octet-stream", "binary/octet-stream", "application/x-image")
ANY += ("application/x-www-form-urlencoded", "application/x-octet-stream", "application/x-binary", "*/*")
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
MAX_BYTES = 25_000_000  # of a body: what SageMaker takes
MAX_BATCH = 32  # pictures in a body
_MAX_OBJECTS = 10 * MAX_BATCH  # in JSON; millions of empty ones would become thirty times as many bytes
_ROWS = '{"instances": [{"b64": "…"}]}'
_ONE = '{"b64": "…"}'
_PIXELS = re.compile(rb'\[\s*\[\s*-?\d|"(?:instances|inputs)"\s*:\s*\[\s*-?\d')
_GZIP = b"\x1f\x8b\x08"
_TAKEN = (*file_kind.MIME, *file_kind.PHONES)


@dataclass(frozen=True)
class Sent:
    """The encoded pictures of a request, or why there is none in a place; whether the answer is a list; the options."""

    pictures: list[bytes | Refused]
    many: bool
    options: Options


def options(query: Mapping[str, str] | Sequence[tuple[str, str]], attributes: str | None = None) -> Options:
    """The options in a query and in the header ATTRIBUTES.

    Raises:
        Refused: 400 for another name or value, and for a name with two values.
    """
    pairs = query if isinstance(query, Sequence) else query.items()
    return request_options.merged(request_options.read(pairs), request_options.of_attributes(attributes))


def uncompressed(encoding: str | None, body: bytes, most: int = MAX_BYTES) -> bytes:
    """The body without its Content-Encoding; see plantdoc.serving.handler.content_encoding."""
    return content_encoding.decoded(encoding or "", body, most)


def read(content_type: str, body: bytes, given: Options = request_options.NONE, most: int = MAX_BYTES) -> Sent:
    """What a body holds, with the options that it adds to `given`.

    JSON is TensorFlow Serving's row format, `{"instances": [{"b64": "…"}, …]}`, each of them also as
    `{"image_bytes": {"b64": "…"}}`, or one picture, `{"b64": "…"}`. What is wrong with one of several takes its place;
    the others are answered. A form with one file is one picture.

    Raises:
        Refused: 413 for a body over `most` bytes or more than MAX_BATCH pictures, 415 for what is not taken, 400 for no
            picture, for JSON or a form that is wrong, and for options that are.
    """
    if body.startswith(_GZIP):  # SageMaker's container is not told of a Content-Encoding
        body = uncompressed("gzip", body, most)
    if len(body) > most:
        raise too_long(most)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/json" or kind.endswith("+json"):
        kind = JSON
    if kind == FORM:
        return _of_form(content_type, body, given)
    if not (kind in ANY or kind == JSON or kind.startswith("image/")):
        raise _other_type()
    if file_kind.of(body) in _TAKEN:
        return Sent([body], False, given)
    if kind == JSON or body[:100].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _of_json(body, given)
    if not body:
        raise Refused(400, "empty", "the body is empty: send a picture")
    if kind not in TYPES:
        raise _other_type()
    return Sent([body], False, given)


def pictures(content_type: str, body: bytes) -> tuple[list[bytes | Refused], bool]:
    """The pictures of a body and whether the answer is a list; see `read`."""
    sent = read(content_type, body)
    return sent.pictures, sent.many


def kind_of(content_type: str, body: bytes) -> str:
    """One of TYPES, JSON and FORM: what a body that `read` has taken is."""
    if content_type.partition(";")[0].strip().lower() == FORM:
        return FORM
    return file_kind.MIME.get(file_kind.of(body) or "", JSON)


def _of_form(content_type: str, body: bytes, given: Options) -> Sent:
    files, fields = form.read(content_type, body, MAX_BATCH)
    # An empty input is no choice.
    chosen = request_options.read((name, text.strip()) for name, text in fields if name in NAMES and text.strip())
    if not files:
        raise Refused(400, "empty", "the form has no file: choose a file, or send one with a file name")
    return Sent(list(files), len(files) > 1, request_options.merged(given, chosen))


def _of_json(body: bytes, given: Options) -> Sent:
    if _PIXELS.search(body[:4096]):
        raise Refused(400, "wrong_json", f"pictures are taken as encoded files, not as lists of pixels: send {_ROWS}")
    if body.count(b"{") + body.count(b"[") > _MAX_OBJECTS:  # base64 has neither
        raise too_many(MAX_BATCH)
    try:
        content = json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise Refused(400, "not_json", f"the body is not JSON: send {_ROWS} or {_ONE}") from None
    wrong = Refused(400, "wrong_json", f"the JSON has another form: send {_ROWS} or {_ONE}, and threshold and max")
    if not isinstance(content, dict):
        raise wrong
    # Clients of TensorFlow Serving name the signature; there is one.
    chosen = [(name, content.pop(name)) for name in NAMES if name in content]
    content.pop("signature_name", None)
    found = request_options.merged(given, request_options.read(each for each in chosen if each[1] is not None))
    if content.keys() in ({"b64"}, {"image_bytes"}):
        one = _decoded(content)
        if isinstance(one, Refused):
            raise one
        return Sent([one], False, found)
    instances = content.get("instances")
    if content.keys() != {"instances"} or not isinstance(instances, list):
        raise wrong
    if not instances:
        raise Refused(400, "empty", "instances is empty: send at least one picture")
    if len(instances) > MAX_BATCH:
        raise too_many(MAX_BATCH)
    return Sent([_decoded(instance) for instance in instances], True, found)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON, in which an option with two values is refused."""
    content = dict(pairs)
    for name, value in pairs:
        if name in NAMES and value != content[name]:
            raise request_options.twice(name)
    return content


def _decoded(instance: object) -> bytes | Refused:
    if isinstance(instance, dict) and set(instance) == {"image_bytes"}:
        instance = instance["image_bytes"]
    if not (isinstance(instance, dict) and set(instance) == {"b64"} and isinstance(instance["b64"], str)):
        return Refused(400, "wrong_json", 'an instance has another form: send {"b64": "…"}')
    try:
        return base64_text.decoded(instance["b64"])
    except ValueError:
        return Refused(400, "wrong_base64", "an instance is not base64")


def _other_type() -> Refused:
    kinds = ", ".join((*TYPES, ANY[1], JSON, FORM))
    return Refused(415, "content_type", f"the content type must be one of {kinds}, and the body what it says")
