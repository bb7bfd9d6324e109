"""Decoded pictures of every colour form as 8-bit RGB, and their turning."""

from __future__ import annotations

from PIL import Image

from plantdoc.decoder.picture_error import PictureError

_STRIP = 256  # rows
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NAMES = {"L": "grey", "1": "black and white", "P": "palette"}


def of(image: Image.Image) -> tuple[Image.Image, str | None]:
    """The picture as RGB, and what that took; itself where it is RGB.

    Transparency is laid over white, which is what a page shows behind it. Of 16-bit grey the upper 8 bits count, or the
    lower ones where the upper ones of all pixels are 0.

    Raises:
        PictureError: a colour form that has no certain meaning as RGB.
    """
    if image.mode == "F":
        raise PictureError("floating_point", "pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):
        return _of_16_bit_grey(image), "16-bit grey to RGB"
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(image), "transparency laid over white"
    if image.mode == "RGB":
        return image, None
    try:
        return image.convert("RGB"), f"{_NAMES.get(image.mode, image.mode)} to RGB"
    except ValueError:
        raise PictureError("colour_form", f"its colours are {image.mode}, which is not read: save it as RGB") from None


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The picture upright, by its EXIF orientation 1..8."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _over_white(image: Image.Image) -> Image.Image:
    """Strip by strip: at once it would take four times the memory."""
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        strip = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        whole.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    return whole


def _of_16_bit_grey(image: Image.Image) -> Image.Image:
    wide, transparent = image.convert("I"), image.info.get("transparency")
    shift = 8 if wide.point([0] * 256 + [255] * 65280, "L").getbbox() else 0
    grey = wide.point([min(level >> shift, 255) for level in range(65536)], "L")
    if isinstance(transparent, int):
        grey.paste(255, mask=wide.point([255 * (level == transparent) for level in range(65536)], "L"))
    return grey.convert("RGB")
