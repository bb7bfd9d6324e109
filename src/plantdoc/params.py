"""params.yaml as typed, frozen objects; a wrong key, type or range stops with its name, value and what is allowed."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from plantdoc.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Jitter = Annotated[float, Field(ge=0, le=0.9)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
InstanceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]


class _Section(BaseModel):
    # Strict: `epochs: "3"` and `epochs: 3.5` are mistakes, not requests for a conversion. Whole numbers pass as floats.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Fetch(_Section):
    """Where the pictures come from and what is done to unclean ones."""

    source: Annotated[str, Field(min_length=1)]
    repository: str
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    limit: Whole
    val_fraction: Annotated[float, Field(ge=0, le=0.5)]
    keep_negatives: bool
    min_box: Count
    max_pixels: Count
    max_dropped_fraction: Fraction
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)]
    aliases: dict[str, str]
    licence: str
    attribution: str


class Augment(_Section):
    """What happens to pictures before they become TFRecords."""

    size: Annotated[int, Field(ge=64, le=1280, multiple_of=32)]
    copies: Count
    scale: Jitter
    aspect: Jitter
    rotation: Annotated[float, Field(ge=0, le=45)]
    brightness: Jitter
    saturation: Jitter
    hue: Annotated[float, Field(ge=0, le=0.5)]
    min_visible: Fraction
    quality: Annotated[int, Field(ge=50, le=100)]
    shard_mb: Count
    workers: Whole
    engine: Literal["local", "beam"]


class Model(_Section):
    """Which detector is built and what it starts from."""

    family: Literal["compact", "yolov8", "retinanet"]
    backbone: Literal["compact", "yolov8", "resnet_v2", "mobilenet_v2"]
    size: Literal["xs", "s", "m", "l", "xl"]
    weights: Annotated[str, Field(min_length=1)]
    score_floor: Fraction
    nms_iou: Fraction
    max_detections: Annotated[int, Field(ge=1, le=1000)]


class Train(_Section):
    """How the detector is trained."""

    epochs: Count
    half_size: Annotated[float, Field(ge=0, lt=1)]
    batch_size: Count
    warmup_epochs: Annotated[float, Field(ge=0)]
    optimizer: Literal["muon", "adamw", "sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    backbone_lr: Fraction
    frozen: Fraction
    flip: Fraction
    mosaic: Fraction
    plain_epochs: Whole
    validate_every: Count
    patience: Whole
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
    threads: Count


class Evaluate(_Section):
    """How the detector is judged."""

    bootstrap: Whole
    pictures: Whole


class Deploy(_Section):
    """What goes into the bundle, how it is checked, and how it is served on AWS.

    The keys from min_map50 on change no result, so that no stage tracks them: see scripts/deploy.py and scripts/api.py.
    """

    check_pictures: Count
    max_pixels: Count
    examples: Whole
    behaviour_pictures: Whole
    keeps_mirrored: Fraction
    keeps_light: Fraction
    keeps_shifted: Fraction
    keeps_compressed: Fraction
    keeps_halved: Fraction
    no_leaf: Fraction
    two_leaves: Fraction
    target: Literal["none", "sagemaker"]
    min_map50: Fraction
    endpoint: Annotated[str, Field(pattern="^plant-disease-[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
    serverless: bool
    memory_mb: Annotated[int, Field(ge=1024, le=6144, multiple_of=1024)]
    concurrency: Annotated[int, Field(ge=1, le=200)]
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")]
    min_instances: Count
    max_instances: Count
    invocations_per_instance: Count
    capture_percent: Annotated[int, Field(ge=0, le=100)]
    keep_versions: Count
    api_access: Literal["key", "iam", "open"]
    api_origins: list[Annotated[str, Field(pattern="^https?://[^/ ]+$")]]
    api_rate: Count
    api_burst: Count

    @field_validator("max_instances")
    @classmethod
    def _not_below_min(cls, value: int, info) -> int:
        if value < info.data.get("min_instances", value):
            raise ValueError("must be min_instances or more")
        return value


class Runner(_Section):
    """Where train runs. It changes no result, so that no stage tracks it: see `runner` in src/train.py."""

    kind: Literal["local", "ec2"]
    instance_types: Annotated[list[InstanceType], Field(min_length=1)]
    spot: bool
    on_demand_fallback: bool
    region: str
    zones: list[str]
    image: Annotated[str, Field(pattern="^(ami-[0-9a-f]+|/.+|[a-z][a-z0-9.-]+)$")]
    disk_gb: Annotated[int, Field(ge=30, le=2000)]
    max_hours: Annotated[float, Field(gt=0, le=120)]
    max_dollars: Annotated[float, Field(gt=0)]
    max_attempts: Count
    stall_minutes: Annotated[float, Field(gt=0)]
    tags: dict[str, str]


class Params(_Section):
    """All of params.yaml: one section per stage, in stage order, what they share, and where train runs."""

    seed: Whole
    lr: Annotated[float, Field(gt=0)]
    fetch: Fetch
    augment: Augment
    model: Model
    train: Train
    evaluate: Evaluate
    deploy: Deploy
    runner: Runner


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check `path`.

    Raises:
        UserError: the file is missing or not YAML, or a key is unknown, missing, of a wrong type or out of range.
    """
    return check(read(path), path)


def read(path: Path | str = "params.yaml") -> dict:
    """The plain values of a YAML 1.2 file, as DVC reads them (`1e-05` is a number)."""
    try:
        values = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run this from the repository's root") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys; restore it with `git checkout {path}`")
    return values


def check(values: dict, path: Path | str = "params.yaml") -> Params:
    """Turn plain values into `Params`; every fault is named in one UserError."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = [_explain(fault) for fault in error.errors()]
    raise UserError(f"{path}: " + "; ".join(faults))


def _explain(fault: dict) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        section: Any = Params
        for part in fault["loc"][:-1]:
            section = section.model_fields[part].annotation
        known = list(section.model_fields)
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"{key} is not a known key; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
    if fault["type"] == "missing":
        return f"{key} is missing"
    return f"{key} = {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
