"""A photo without anything in it, for a model that has to show that it answers."""

from __future__ import annotations

import functools
import io

from PIL import Image

from plantdoc.serving.handler.uploaded_image import UploadedImage

_SIDE = 64  # px


@functools.cache
def blank() -> UploadedImage:
    file = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (114, 114, 114)).save(file, "JPEG")
    return UploadedImage(file.getvalue(), 1, _SIDE, _SIDE)
