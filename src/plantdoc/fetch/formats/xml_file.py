"""XML from strangers: no entities, no files from outside, any encoding."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException, ElementTree

from plantdoc.fetch.source_files import SourceFiles, Unparsable

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*?encoding\s*=\s*['\"]([\w.:-]+)['\"][^>]*\?>")
_ROOT = re.compile(r"<([A-Za-z_][\w.:-]*)")


class BadXml(Exception):
    """A file that is not plain XML; the text says where it breaks."""


def parse(source: SourceFiles, file: str) -> Element:
    """The root element of a file; an encoding that is not declared, or wrongly, is found out.

    Raises:
        BadXml: it cannot be read, is no XML, or declares entities, which might grow without bound.
    """
    try:
        return _parsed(source.bytes(file))
    except Unparsable as error:
        raise BadXml(str(error)) from None
    except DefusedXmlException as error:  # a ValueError
        raise BadXml(f"{type(error).__name__}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        first = error
    # Maybe only the encoding is unknown to the parser: decode here, and leave the declaration out.
    declared = _DECLARATION.match(source.bytes(file)[:200].decode("ascii", "replace"))
    try:
        text = source.text(file, declared[1] if declared else "")
        return _parsed(_DECLARATION.sub("", text).encode())
    except DefusedXmlException as error:
        raise BadXml(f"{type(error).__name__}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError):
        source.guessed.pop(file, None)
        raise BadXml(f"{type(first).__name__}: {first}") from None


def root_name(source: SourceFiles, file: str) -> str:
    """The name of the root element as it seems from the file's beginning, in lower case, or ""."""
    try:
        start = source.bytes(file)[:2000].decode("utf-8", "replace").replace("\0", "")
    except Unparsable:
        return ""
    found = _ROOT.search(re.sub(r"<!--.*?-->", "", start, flags=re.DOTALL))
    return found[1].lower() if found else ""


def _parsed(data: bytes) -> Element:
    root = ElementTree.fromstring(data)
    assert root is not None  # what has no element does not parse
    return root
