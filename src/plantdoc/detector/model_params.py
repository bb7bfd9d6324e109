"""The section `model` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plantdoc.core.params import Fraction, Section


class Model(Section):
    """Architecture of the detector and its initial weights."""

    family: Literal["compact", "yolov8", "retinanet"]
    backbone: Literal["compact", "yolov8", "resnet_v2", "mobilenet_v2"]
    size: Literal["xs", "s", "m", "l", "xl"]
    weights: Annotated[str, Field(min_length=1)]
    score_floor: Fraction
    nms_iou: Fraction
    max_detections: Annotated[int, Field(ge=1, le=1000)]
