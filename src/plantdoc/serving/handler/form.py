"""Forms with files: multipart/form-data (RFC 7578), as browsers, curl and programs send it. Standard library alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message

from plantdoc.decoder import file_kind
from plantdoc.serving.handler import base64_text
from plantdoc.serving.handler.refusal import Refused, too_many

TYPE = "multipart/form-data"
_FIELDS = 64  # parts that are no files, at most
_HEAD = 8192  # bytes of a part's headers, at most
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


def read(content_type: str, body: bytes, most: int) -> tuple[list[bytes], list[tuple[str, str]]]:
    """The files of a form, and its other fields as text, in their order.

    A file input in which none was chosen is left out. A field that holds a picture is a file without a name.

    Raises:
        Refused: 400 for what is no whole form, 413 for more than `most` files.
    """
    files: list[bytes] = []
    fields: list[tuple[str, str]] = []
    for head, content in _parts(content_type, body):
        parameters, encoding = _disposition(head)
        name, file_name = parameters.get("name"), parameters.get("filename", parameters.get("filename*"))
        if encoding == "base64":
            content = _of_base64(content)
        if file_name is None and file_kind.of(content) is None:
            fields.append((name or "", content[:200].decode("utf-8", "replace")))
            if len(fields) > _FIELDS:
                raise Refused(400, "wrong_form", f"the form has more than {_FIELDS} fields: send files alone")
        elif content or file_name:
            files.append(content)
            if len(files) > most:
                raise too_many(most)
    return files, fields


def _parts(content_type: str, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Headers and content of each part."""
    delimiter = b"\r\n--" + _boundary(content_type)
    whole = b"\r\n" + body
    at = whole.find(delimiter)
    while at >= 0:
        at += len(delimiter)
        if whole[at : at + 2] == b"--":
            return
        line = whole.find(b"\r\n", at)
        end = whole.find(delimiter, at)
        if line < 0 or end < 0 or whole[at:line].strip(b" \t"):
            break
        head = whole.find(b"\r\n\r\n", line, min(end, line + _HEAD))
        if head < 0:
            break
        yield whole[line:head], whole[head + 4 : end]
        at = end
    raise Refused(400, "wrong_form", f"the body is no whole form: send {TYPE} with a file")


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    boundary = message.get_boundary()
    if not boundary or len(boundary) > 200:
        raise Refused(400, "wrong_form", f"the content type names no boundary: send {TYPE} as a form makes it")
    return boundary.encode("latin-1", "replace")


def _disposition(head: bytes) -> tuple[dict[str, str], str]:
    """The parameters of a part's Content-Disposition, and its Content-Transfer-Encoding."""
    headers = {}
    for line in re.sub(rb"\r\n[ \t]+", b" ", head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    parameters = {
        found[1].decode("ascii", "replace").lower(): (found[2] or found[3] or b"").decode("utf-8", "replace")
        for found in _PARAMETER.finditer(headers.get(b"content-disposition", b""))
    }
    encoding = headers.get(b"content-transfer-encoding", b"binary").lower().decode("ascii", "replace")
    if encoding not in ("binary", "8bit", "7bit", "base64"):
        raise Refused(400, "wrong_form", "a part of the form has an encoding that is not read: send it as it is")
    return parameters, encoding


def _of_base64(content: bytes) -> bytes:
    try:
        return base64_text.decoded(content.decode("ascii"))
    except ValueError:
        raise Refused(400, "wrong_base64", "a part of the form is not base64, as it says") from None
