"""Pictures that a form sends: multipart/form-data, as browsers and curl make it."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, FormParser, parse_options_header

from plantdoc.serving.handler import request
from plantdoc.serving.handler.refusal import Refused

MULTIPART = "multipart/form-data"
_FIELDS = 64  # parts that are no files, at most


def is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == MULTIPART


def pictures(content_type: str, body: bytes) -> tuple[list[bytes], bool]:
    """The files of a form, as handler.request.pictures gives those of JSON; one file alone is one picture.

    Raises:
        Refused: 400 for what is no form or has no file, 413 for more than MAX_BATCH files.
    """
    found: list[bytes] = []
    fields, ended = 0, False

    def on_file(file: File) -> None:
        if len(found) == request.MAX_BATCH:
            raise request.too_many()
        file.file_object.seek(0)
        found.append(file.file_object.read())
        file.close()

    def on_field(field) -> None:
        nonlocal fields
        fields += 1
        if fields > _FIELDS:
            raise Refused(400, "wrong_form", f"the form has more than {_FIELDS} fields: send files alone")

    def on_end() -> None:
        nonlocal ended
        ended = True

    try:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        # A file that outgrows memory would be written to a disk; none does, since the whole body is in memory.
        config = {"MAX_MEMORY_FILE_SIZE": len(body)}
        parser = FormParser(MULTIPART, on_field, on_file, on_end, boundary, config=config)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, AssertionError, LookupError):
        ended = False
    if not ended:
        raise Refused(400, "wrong_form", "the body is no whole form: send multipart/form-data with a file")
    if not found:
        raise Refused(400, "empty", "the form has no file: send a picture with a file name")
    return found, len(found) > 1
