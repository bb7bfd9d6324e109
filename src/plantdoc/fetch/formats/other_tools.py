"""Annotation files of tools whose own form is not read: named, with the export to choose instead."""

from __future__ import annotations

from plantdoc.fetch.source_files import SourceFiles, Unparsable

_INSTEAD = "export it as COCO or Pascal VOC"


def described(source: SourceFiles, file: str) -> str:
    """What a file is that no reader understands, and what to do; "" where that is not known either."""
    if not file.lower().endswith((".json", ".jsonl", ".ndjson", ".csv")):
        return ""
    try:
        if file.lower().endswith(".json"):
            return _of_json(source.json(file))
        start = source.text(file)[:500].lower()
    except Unparsable as error:
        return str(error)
    if "region_shape_attributes" in start:
        return f"a table of VIA: {_INSTEAD}"
    return ""


def _of_json(data: object) -> str:
    if isinstance(data, dict):
        if "_via_img_metadata" in data or any(isinstance(v, dict) and "regions" in v for v in data.values()):
            return f"a project of VIA: {_INSTEAD}"
        if "shapes" in data and "imagePath" in data:
            return f"LabelMe's own form: {_INSTEAD}"
        if isinstance(data.get("images"), list) and "annotations" not in data:
            return "a COCO file without annotations"
        if "objects" in data and "size" in data:
            return f"Supervisely's own form: {_INSTEAD}"
    if isinstance(data, list) and data and isinstance(data[0], dict) and isinstance(data[0].get("annotations"), list):
        if isinstance(data[0].get("data"), dict):
            return (
                "tasks of Label Studio that name no picture file: import the pictures there as files or by their URLs"
            )
        return f"CreateML's form: {_INSTEAD}"
    return ""
