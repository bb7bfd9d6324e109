"""Probe image for health checks: grey, without a leaf."""

from __future__ import annotations

import functools
import io

from PIL import Image

from plantdoc.core.padding import GREY
from plantdoc.serving.handler.uploaded_image import UploadedImage

_SIDE = 64  # px


@functools.cache
def blank() -> UploadedImage:
    file = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (GREY,) * 3).save(file, "JPEG")
    return UploadedImage(file.getvalue(), 1, _SIDE, _SIDE)
