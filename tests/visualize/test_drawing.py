"""Boxes, labels and sheets: they land where they should, and labels can be read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from plantdoc.visualize import drawing

GREY = (90, 90, 90)


def blank(width: int = 320, height: int = 240) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def letters_of(image: Image.Image) -> int:
    """The number of pixels that are nearly white; edges of letters are soft."""
    return int((np.asarray(image) > 190).all(axis=2).sum())


def pixels_of(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """x and y of every pixel that has exactly this colour, shape [N, 2]."""
    ys, xs = np.nonzero((np.asarray(image) == colour).all(axis=2))
    return np.stack([xs, ys], axis=1)


def test_32_categories_have_distinct_colours():
    colours = [drawing.colour_of(i) for i in range(32)]
    apart = [max(abs(a - b) for a, b in zip(p, q, strict=True)) for p in colours for q in colours if p is not q]
    assert min(apart) >= 12
    assert drawing.colour_of(32) == drawing.colour_of(0)


def test_a_box_covers_the_pixels_it_names():
    drawn = pixels_of(drawing.draw_boxes(blank(), [((40, 60, 100, 80), "", (255, 0, 0))]), (255, 0, 0))
    assert drawn.min(axis=0).tolist() == [40, 60]
    assert drawn.max(axis=0).tolist() == [139, 139]


def test_the_given_picture_is_left_alone():
    image = blank()
    drawing.draw_boxes(image, [((10, 10, 50, 50), "leaf", (255, 0, 0))])
    assert len(pixels_of(image, GREY)) == 320 * 240


def test_lines_grow_with_the_picture():
    def red(side: int) -> int:
        image = drawing.draw_boxes(blank(side, side), [((0.25 * side, 0.25 * side, 100, 100), "", (255, 0, 0))])
        return len(pixels_of(image, (255, 0, 0)))

    assert red(1600) > 3 * red(300)


@pytest.mark.parametrize(
    "xywh",
    [(100, 100, 50, 50), (0, 0, 40, 30), (290, 0, 30, 20), (300, 225, 20, 15), (-20, -20, 600, 600), (5, 5, 0, 0)],
)
def test_a_label_stays_whole_and_inside_the_picture(xywh):
    colour = (0, 0, 255)

    in_the_middle = drawing.draw_boxes(blank(), [((100, 100, 50, 50), "Potato blight leaf", colour)])
    image = drawing.draw_boxes(blank(), [(xywh, "Potato blight leaf", colour)])
    assert letters_of(in_the_middle) > 50
    assert letters_of(image) == letters_of(in_the_middle)


def test_a_label_wider_than_the_picture_is_cut_and_says_so():
    image = drawing.draw_boxes(blank(60, 60), [((0, 20, 60, 40), "a label that cannot fit in here", (0, 0, 255))])
    assert image.size == (60, 60)
    assert drawing._cut("a label that cannot fit in here", 11, 54).endswith("...")
    assert drawing._cut("leaf", 11, 54) == "leaf"


def test_letters_stand_out_from_their_tag():
    dark = drawing.draw_boxes(blank(), [((50, 50, 90, 90), "leaf", (0, 0, 120))])
    bright = drawing.draw_boxes(blank(), [((50, 50, 90, 90), "leaf", (250, 240, 60))])
    assert letters_of(dark) > 10
    assert int((np.asarray(bright) < 20).all(axis=2).sum()) > 10


def test_labels_of_the_same_box_do_not_cover_each_other():
    box = (60, 60, 120, 100)
    image = drawing.draw_boxes(blank(), [(box, "truth", (0, 0, 120)), (box, "guess 0.93", (120, 0, 0))])
    alone = drawing.draw_boxes(blank(), [(box, "truth", (0, 0, 120))])
    guess = drawing.draw_boxes(blank(), [(box, "guess 0.93", (120, 0, 0))])
    assert letters_of(image) == letters_of(alone) + letters_of(guess)


def test_any_picture_mode_is_drawn_on():
    for mode in ("L", "RGBA", "P", "CMYK"):
        assert drawing.draw_boxes(Image.new(mode, (64, 48)), [((8, 8, 30, 30), "leaf", (255, 0, 0))]).mode == "RGB"


def test_a_contact_sheet_shows_every_picture_whole():
    colours = [drawing.colour_of(i) for i in range(5)]
    sizes = [(64, 48), (48, 64), (64, 48), (48, 64), (64, 48)]
    images = [(Image.new("RGB", size, c), f"picture {c}") for size, c in zip(sizes, colours, strict=True)]
    sheet = drawing.contact_sheet(images, columns=3, cell=(120, 90), title="drawn, not photographed")
    for i, ((image, _), colour) in enumerate(zip(images, colours, strict=True)):
        found = pixels_of(sheet, colour)
        width, height = found.max(axis=0) - found.min(axis=0) + 1
        assert width / height == pytest.approx(image.width / image.height, rel=0.03), i
        assert max(width / 120, height / 90) == 1
        assert len(found) == width * height


def test_a_contact_sheet_of_nothing_is_a_picture_still():
    assert drawing.contact_sheet([], columns=4, cell=(100, 80)).size[1] >= 80


def test_side_by_side_keeps_pixels_and_puts_left_on_the_left():
    pair = drawing.side_by_side(
        Image.new("RGB", (80, 60), (255, 0, 0)), Image.new("RGB", (80, 60), (0, 0, 255)), ("a", "b")
    )
    red, blue = pixels_of(pair, (255, 0, 0)), pixels_of(pair, (0, 0, 255))
    assert len(red) == len(blue) == 80 * 60
    assert red[:, 0].max() < blue[:, 0].min()


def test_the_same_input_gives_the_same_pixels():
    boxes = [((10.4, 10.6, 100.2, 90.9), "leaf 0.51", drawing.colour_of(9))]
    assert drawing.draw_boxes(blank(), boxes).tobytes() == drawing.draw_boxes(blank(), boxes).tobytes()
