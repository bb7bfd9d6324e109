"""The detector: a network with its class names and its non-maximum suppression, in a folder that rebuilds it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from plantdoc.core.errors import UserError
from plantdoc.detector import kerascv, nms, weights_file
from plantdoc.detector.model_params import Model

CONFIG, WEIGHTS = "config.json", "detector.weights.h5"


@dataclass(frozen=True)
class Config:
    """All that rebuilds a detector without params.yaml, and what it was made from."""

    family: str
    backbone: str
    size: str
    image_size: int  # px, side of the square input
    classes: tuple[str, ...]
    score_floor: float
    nms_iou: float
    max_detections: int
    made_from: dict = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, image_size: int, classes: tuple[str, ...], made_from: dict) -> Config:
        """The config that params.yaml's `model` section asks for."""
        values = model.model_dump(exclude={"weights"})
        return cls(image_size=image_size, classes=tuple(classes), made_from=made_from, **values)


class Detector:
    """Finds leaves in square pictures.

    Args:
        config: what to build.
        preset: name of a published set of backbone weights to download, or None for random ones.
        precision: Keras's dtype policy; variables are float32 under each, so that it is no part of the config.
    """

    def __init__(self, config: Config, preset: str | None = None, precision: str = "float32"):
        self.config = config
        self.network = kerascv.build(
            config.family, config.backbone, config.size, config.image_size, len(config.classes), preset, precision
        )

    @property
    def model(self):
        """The Keras model: pictures [B, S, S, 3] (float32, 0..255) to raw outputs."""
        return self.network.model

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detections in pictures [B, S, S, 3] (float32, 0..255), best first, of at most N = max_detections.

        Returns:
            As of `plantdoc.detector.nms.suppress`.
        """
        boxes, scores = self.network.decode(self.network(images, training=False))
        config = self.config
        return nms.suppress(
            boxes, scores, iou=config.nms_iou, score_floor=config.score_floor, most=config.max_detections
        )


def save(detector: Detector, folder: Path | str) -> None:
    """Write weights and config into `folder`; equal detectors give equal bytes."""
    folder = Path(folder)
    detector.model.save_weights(folder / WEIGHTS)
    text = json.dumps(dataclasses.asdict(detector.config), indent=1, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load(folder: Path | str) -> Detector:
    """Rebuild the detector that `save` wrote.

    Raises:
        UserError: `folder` holds no detector, or its weights lead to other files.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} holds no detector: run `dvc repro train`, or `dvc pull train` to get a stored one")
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    detector = Detector(Config(**{**values, "classes": tuple(values["classes"])}))
    weights_file.check(folder / WEIGHTS)
    detector.model.load_weights(folder / WEIGHTS)
    return detector
