"""Boxes with labels on pictures, and sheets of pictures, for people to look at: same input, same pixels."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

Colour = tuple[int, int, int]
Label = tuple[Sequence[float], str, Colour]

# Okabe & Ito, "Color Universal Design" (2008), black replaced by grey; the order keeps neighbours far apart.
_BASE = (
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 114, 178),
    (204, 121, 167),
    (230, 159, 0),
    (0, 158, 115),
    (153, 153, 153),
)
_SHADES = (0.0, 0.5, -0.4, 0.25)  # towards white (> 0) or black (< 0), one for each time round the base colours

PAPER = (255, 255, 255)
INK = (34, 34, 34)
_GAP = 6
_CAPTION_SIZE = 13
_TITLE_SIZE = 17


def colour_of(category: int) -> Colour:
    """The RGB colour of a category id; 32 different ones, then they start again."""
    base = _BASE[category % len(_BASE)]
    shade = _SHADES[category // len(_BASE) % len(_SHADES)]
    target = 255 if shade > 0 else 0
    red, green, blue = (round(c + (target - c) * abs(shade)) for c in base)
    return red, green, blue


def draw_boxes(image: Image.Image, boxes: Sequence[Label]) -> Image.Image:
    """Return an RGB copy of `image` with boxes on it.

    Args:
        image: any mode and size.
        boxes: `(xywh, label, colour)` each, `xywh` in pixels of `image`; an empty label draws the box alone.
            Line width and letters follow the picture's size. Labels stay inside the picture, clear of
            each other where there is room.
    """
    image = image.convert("RGB")  # a copy, also when it is RGB already
    draw = ImageDraw.Draw(image)
    line = max(2, round(min(image.size) / 150))
    corners = [_corners(xywh) for xywh, _, _ in boxes]
    for (x0, y0, x1, y1), (_, _, colour) in zip(corners, boxes, strict=True):
        # The dark rim keeps a box visible on ground of its own colour.
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=INK, width=line + 2)
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    taken: list[tuple[int, int, int, int]] = []
    for corner, (_, label, colour) in zip(corners, boxes, strict=True):
        if label:
            taken.append(_draw_tag(draw, corner, label, colour, taken))
    return image


def contact_sheet(
    images: Sequence[tuple[Image.Image, str]], columns: int, cell: tuple[int, int] = (320, 240), title: str = ""
) -> Image.Image:
    """Return one RGB picture with all `(image, caption)` in rows of `columns`.

    Each image is scaled into a cell of `cell` = (width, height) pixels with its aspect ratio kept, its caption below;
    `title` stands on top. Without images there is one empty row.
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    strip = _line_height(_CAPTION_SIZE) if any(caption for _, caption in images) else 0
    head = _line_height(_TITLE_SIZE) if title else 0
    step_x, step_y = cell[0] + _GAP, cell[1] + strip + _GAP
    sheet = Image.new("RGB", (_GAP + columns * step_x, _GAP + head + rows * step_y), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(draw, (_GAP, _GAP), title, _TITLE_SIZE, sheet.width - 2 * _GAP)
    for i, (image, caption) in enumerate(images):
        x, y = _GAP + i % columns * step_x, _GAP + head + i // columns * step_y
        small = ImageOps.contain(image.convert("RGB"), cell)
        sheet.paste(small, (x + (cell[0] - small.width) // 2, y + (cell[1] - small.height) // 2))
        _write(draw, (x, y + cell[1]), caption, _CAPTION_SIZE, cell[0])
    return sheet


def side_by_side(left: Image.Image, right: Image.Image, captions: tuple[str, str], title: str = "") -> Image.Image:
    """Return both pictures at their own size in one RGB picture, each with its caption below."""
    cell = (max(left.width, right.width), max(left.height, right.height))
    return contact_sheet([(left, captions[0]), (right, captions[1])], 2, cell, title)


def _corners(xywh: Sequence[float]) -> tuple[int, int, int, int]:
    """Pillow's corners (x0, y0, x1, y1), the last pixel included."""
    x, y, w, h = xywh
    x0, y0 = round(x), round(y)
    return x0, y0, max(x0, round(x + w) - 1), max(y0, round(y + h) - 1)


def _draw_tag(draw: ImageDraw.ImageDraw, box: tuple, label: str, colour: Colour, taken: list) -> tuple:
    """Write `label` on a tag beside its box, and return the tag's corners."""
    width, height = draw.im.size
    size = max(11, round(min(width, height) / 24))
    pad = max(2, size // 6)
    text = _cut(label, size, width - 2 * pad - 2)
    w, h = round(_font(size).getlength(text)) + 2 * pad, _line_height(size)
    x0, y0, x1, y1 = box
    tags = []
    for left, top in ((x0, y0 - h), (x0, y1 + 1), (x1 + 1 - w, y0 - h), (x0, y0), (x0, y1 + 1 - h), (x1 + 1 - w, y0)):
        # Clamped into the picture; a tag over the box's edge still reads.
        left, top = max(0, min(left, width - w)), max(0, min(top, height - h))
        tags.append((left, top, min(left + w, width) - 1, min(top + h, height) - 1))
    tag = next((t for t in tags if not any(_overlap(t, other) for other in taken)), tags[0])
    draw.rectangle(tag, fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128
    draw.text((tag[0] + pad, tag[1] + h // 2), text, fill=(0, 0, 0) if bright else PAPER, font=_font(size), anchor="lm")
    return tag


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, width: int) -> None:
    middle = at[1] + _line_height(size) // 2
    draw.text((at[0], middle), _cut(text, size, width), fill=INK, font=_font(size), anchor="lm")


def _cut(text: str, size: int, width: int) -> str:
    """`text` on one line, shortened until it is at most `width` pixels wide."""
    text = " ".join(text.split())
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(text + "...") > width:
        text = text[:-1]
    return text + "..." if text else ""


def _line_height(size: int) -> int:
    return round(size * 1.4)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
