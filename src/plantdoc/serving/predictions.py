"""Predictions of a serving function for a split's pictures, in COCO's results form.

As a program it asks an exported model, with nothing of the detector's code in the process:
`python -m plantdoc.serving.predictions MODEL PICTURES OUT THREADS ID…`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from plantdoc.coco import dataset
from plantdoc.coco.dataset import Picture
from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.decoder import picture_decoder
from plantdoc.decoder.picture_error import PictureError


def predict(serve: Callable, folder: Path | str, pictures: Iterable[Picture], classes: tuple[str, ...]) -> list[dict]:
    """Ask about one picture at a time, as requests come; best first within a picture.

    Args:
        serve: plantdoc.serving.served_model.Server.serve, or the signature of a loaded SavedModel.
        folder: where the pictures lie.
        pictures: of which split; their order is kept.
        classes: names that the category ids stand for in the truth.

    Returns:
        COCO results: `image_id`, `category_id`, `bbox` [x, y, width, height] in pixels of the picture, rounded to
        0.001; `score`, rounded to 0.000001.

    Raises:
        UserError: a picture cannot be decoded, or the detector knows other classes.
    """
    import tensorflow as tf

    rows = []
    for picture in tqdm(pictures, desc=f"detect in {Path(folder).name}", unit="picture", mininterval=1):
        path = Path(folder) / picture.file_name
        data = path.read_bytes()
        try:
            turned = tf.constant([orientation(data)], tf.int32)
            found = serve(image_bytes=tf.constant([data]), orientation=turned)
        except (UserError, tf.errors.InvalidArgumentError) as error:
            why = str(error).splitlines()[0]
            raise UserError(f"{path} cannot be decoded ({why}): make it again with `dvc repro -f fetch`") from None
        columns = (found[key].numpy()[0].tolist() for key in ("class_ids", "class_names", "boxes", "scores"))
        for category, name, box, score in zip(*columns, strict=True):
            if category < 0:
                continue
            if category >= len(classes) or classes[category] != name.decode():
                raise UserError(
                    f"the detector knows other classes (its number {category} is {name.decode()}) than {folder}: "
                    "train it on these pictures with `dvc repro`"
                )
            rows.append(
                {
                    "image_id": picture.id,
                    "category_id": category,
                    "bbox": [round(side, 3) for side in box],
                    "score": round(score, 6),
                }
            )
    return rows


def orientation(data: bytes) -> int:
    """The EXIF orientation 1..8 of an encoded picture; 1 (upright) where there is none or it makes no sense.

    Raises:
        UserError: `data` is no picture that can be read.
    """
    try:
        return picture_decoder.header(data, sys.maxsize, "").orientation
    except PictureError as error:
        raise UserError(f"{error}: send a JPEG or PNG file") from None


def main(model: str, folder: str, out: str, threads: str, *ids: str) -> None:
    """Ask the SavedModel in `model` about pictures of the split in `folder`, and write the results to `out`."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    tf.config.experimental.enable_op_determinism()
    split, wanted = dataset.load(folder), set(map(int, ids))
    serve = tf.saved_model.load(model).signatures["serving_default"]
    pictures = [picture for picture in split.pictures if picture.id in wanted]
    Path(out).write_text(json.dumps(predict(serve, folder, pictures, split.classes)))


if __name__ == "__main__":
    stage.run(lambda: main(*sys.argv[1:]))
