"""The SavedModel of a bundle, loaded once and asked in batches."""

from __future__ import annotations

import logging
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.detector import tf_setup
from plantdoc.server.probe_image import blank
from plantdoc.serving.handler import uploaded_image
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.uploaded_image import UploadedImage


class Model:
    """Asks a SavedModel about photos. To be used by one thread at a time.

    Args:
        folder: the SavedModel.
        threads: of TensorFlow; a process can have one number only.

    Raises:
        UserError: it does not load.
    """

    def __init__(self, folder: Path, threads: int):
        with tf_setup.starting():
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
            tf.config.list_logical_devices()
        for name in ("tensorflow", "absl"):  # they miss a fingerprint, which the bundle leaves out
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            self._loaded = tf.saved_model.load(str(folder))
            self._serve = self._loaded.signatures["serving_default"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{folder} does not load ({why}): `dvc repro -f deploy` makes it again") from None
        self._tf = tf

    def warm(self, most: int) -> None:
        """Ask about blank photos, in batches of 1 to `most`: the first call of each size takes much longer."""
        sizes = [2**i for i in range(most.bit_length()) if 2**i < most] + [most]
        for size in sizes:
            self._rows([blank()] * size)

    def ask(self, photos: list[UploadedImage]) -> list[dict | Refused]:
        """A row per photo (see plantdoc.serving.handler.response.of_one), or why there is none.

        The batch is one call of the model. Where that fails for a photo that cannot be decoded, each is asked about
        alone, so that the others get their answers.
        """
        try:
            return list(self._rows(photos))
        except self._tf.errors.InvalidArgumentError:
            if len(photos) == 1:
                return [uploaded_image.undecodable(photos[0])]
            return [row for each in photos for row in self.ask([each])]

    def _rows(self, photos: list[UploadedImage]) -> list[dict]:
        tf = self._tf
        found = self._serve(
            image_bytes=tf.constant([each.data for each in photos]),
            orientation=tf.constant([each.orientation for each in photos], tf.int32),
        )
        columns = {key: found[key].numpy().tolist() for key in ("boxes", "scores", "class_ids", "class_names")}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for row in rows:
            row["class_names"] = [name.decode() for name in row["class_names"]]
        return rows
