"""serving.served_model: what comes out is in the pixels of the picture as a person sees it, whatever went in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from rectangle_detector import RectangleDetector, picture

from plantdoc.augment import transforms
from plantdoc.core.errors import UserError
from plantdoc.serving import predictions

BOXES = {"red": (30, 10, 50, 30), "green": (80, 50, 40, 20), "blue": (8, 54, 40, 24)}


@pytest.fixture(scope="module")
def serving(tf):
    """The module, which starts TensorFlow."""
    from plantdoc.serving import served_model

    return served_model


@pytest.fixture(scope="module")
def server(serving):
    return serving.Server(RectangleDetector())


def encoded(image: Image.Image, kind: str = "PNG", orientation: int | None = None, **options) -> bytes:
    if orientation:
        tags = Image.Exif()
        tags[0x0112] = orientation
        options["exif"] = tags
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def ask(server, *pictures: bytes) -> list[dict[str, list[float]]]:
    """{class name: [x, y, w, h, score]} per picture; also checks the rows that are not used."""
    orientations = np.array([predictions.orientation(data) for data in pictures], np.int32)
    out = server.serve(np.array(pictures, object), orientations)
    out = {key: value.numpy() for key, value in out.items()}
    answers = []
    for boxes, scores, ids, names in zip(
        out["boxes"], out["scores"], out["class_ids"], out["class_names"], strict=True
    ):
        used = int((ids >= 0).sum())
        assert (ids[:used] >= 0).all() and (np.diff(scores) <= 0).all(), "used rows come first, best first"
        assert not boxes[used:].any() and not scores[used:].any() and (names[used:] == b"").all()
        assert [b"red green blue".split()[i] for i in ids[:used]] == list(names[:used])
        answers.append({n.decode(): [*b.tolist(), float(s)] for n, b, s in zip(names, boxes, scores, strict=True) if n})
    return answers


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_rectangles_are_found_as_displayed_for_every_orientation(server, orientation, kind):
    shown = picture(126, 84, BOXES)
    # What a camera stores is what `orientation` turns into `shown`: search for it among all eight turns.
    turns = [Image.Transpose(i) for i in range(7)]
    for stored in [shown, *(shown.transpose(turn) for turn in turns)]:
        data = encoded(stored, kind, orientation, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
        if ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == shown.size and _close(data, shown):
            break
    else:
        pytest.fail("no turn of the picture shows upright")
    (answer,) = ask(server, data)
    for name, box in BOXES.items():
        np.testing.assert_allclose(
            answer[name][:4], box, atol=2.0, err_msg=f"{name}"
        )  # 1.3 px fall on one of the square


def _close(data: bytes, shown: Image.Image) -> bool:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    return np.abs(np.asarray(upright, int) - np.asarray(shown, int)).mean() < 5


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (128, 128, (20, 30, 50, 40)),
        (128, 31, (90, 5, 30, 20)),
        (31, 128, (5, 90, 20, 30)),
        (64, 40, (10, 6, 30, 20)),
        (97, 89, (40, 2, 57, 80)),
        (127, 1, (40, 0, 30, 1)),
        (1, 127, (0, 50, 1, 60)),
    ],
)
def test_small_odd_shapes_are_found_within_a_pixel(server, width, height, box):
    (answer,) = ask(server, encoded(picture(width, height, {"green": box})))
    np.testing.assert_allclose(answer["green"][:4], box, atol=1.0)


@pytest.mark.parametrize("size", [(1000, 30), (30, 1000), (1201, 799), (640, 641)])
def test_large_pictures_are_found_within_a_pixel_of_the_square(server, size):
    width, height = size
    box = (width // 2, height // 3, width // 3, height // 2)
    (answer,) = ask(server, encoded(picture(width, height, {"blue": box})))
    np.testing.assert_allclose(answer["blue"][:4], box, atol=max(size) / 128)


def test_boxes_end_at_the_edge_of_the_picture(server):
    (answer,) = ask(server, encoded(picture(333, 77, {"red": (300, 50, 33, 27)})))
    x, y, w, h, _ = answer["red"]
    assert x + w <= 333 and y + h <= 77


def test_a_batch_of_mixed_sizes_equals_single_calls(server):
    pictures = [
        encoded(picture(126, 84, BOXES)),
        encoded(picture(110, 190, {"red": (5, 100, 90, 60)}), "JPEG", 6, quality=90),
        encoded(picture(64, 64, {})),
    ]
    together = ask(server, *pictures)
    assert together == [ask(server, data)[0] for data in pictures]
    assert [len(answer) for answer in together] == [3, 1, 0]


def test_a_box_in_the_padding_is_no_detection(tf, serving):
    class Padding(RectangleDetector):
        def detect(self, images):
            boxes = tf.constant([[[0.0, 100, 50, 120], [0, 10, 50, 30], [0, 0, 0, 0], [0, 0, 0, 0]]])
            return {
                "boxes": boxes,
                "scores": tf.constant([[0.9, 0.8, 0.0, 0.0]]),
                "classes": tf.constant([[0, 1, -1, -1]]),
            }

    (answer,) = ask(serving.Server(Padding()), encoded(picture(128, 64, {})))
    assert list(answer) == ["green"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_png_of_every_kind_decodes_as_pillow_does(serving, mode):
    image = _noise(90, 70).convert(mode)
    decoded = serving.decode(encoded(image)).numpy()
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 30}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_decodes_as_pillow_does(serving, mode, options):
    data = encoded(_noise(131, 77).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(serving.decode(data).numpy(), _pillow(data))


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_other_types_decode_as_pillow_does(serving, kind):
    data = encoded(_noise(40, 30), kind)
    np.testing.assert_array_equal(serving.decode(data).numpy(), _pillow(data))


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (50, 90), (1024, 33), (128, 128)])
def test_letterboxes_agree(tf, serving, size):
    """That of the augment stage, by Pillow, and that of the served model, by TensorFlow."""
    image = _noise(*size)
    square, wh, scale = serving.letterbox(tf.constant(np.asarray(image)), tf.constant(1), 128)
    fitted = tuple(max(1, round(side * 128 / max(size))) for side in size)
    expected = np.asarray(transforms.letterbox(image, np.zeros((0, 4)), 128)[0], np.float32)
    assert (square.numpy()[fitted[1] :] == 114).all() and (square.numpy()[:, fitted[0] :] == 114).all()
    difference = np.abs(square.numpy() - expected)
    # Pillow rounds to whole levels between its two passes, TensorFlow only at the end.
    assert difference.max() <= 1 and (difference > 0).mean() < 0.15
    assert wh.numpy().tolist() == list(size)
    np.testing.assert_allclose(scale.numpy(), np.divide(fitted, size), rtol=1e-6)


def test_real_pictures_decode_as_pillow_does(serving, plantdoc_folder: Path):
    paths = [p for p in sorted((plantdoc_folder / "TEST").glob("*.jpg")) if Image.open(p).format == "JPEG"]
    paths = [p for p in paths if Image.open(p).mode in ("RGB", "L")][:12]
    assert paths
    for path in paths:
        data = path.read_bytes()
        np.testing.assert_array_equal(serving.decode(data).numpy(), _pillow(data), err_msg=path.name)


def test_a_saved_model_answers_alike(tf, server, tmp_path):
    data = [encoded(picture(126, 84, BOXES)), encoded(picture(60, 160, BOXES), "JPEG", 8)]
    tf.saved_model.save(server, str(tmp_path), signatures={"serving_default": server.serve})
    signature = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    given = {"image_bytes": tf.constant(data), "orientation": tf.constant([1, 8])}
    expected, got = server.serve(**given), signature(**given)
    assert set(got) == {"boxes", "scores", "class_ids", "class_names"}
    for key, value in expected.items():
        np.testing.assert_array_equal(got[key].numpy(), value.numpy())


@pytest.mark.parametrize("orientation", [-1, 0, 9])
def test_an_orientation_that_makes_no_sense_counts_as_upright(tf, server, orientation):
    data = tf.constant([encoded(picture(126, 84, BOXES))])
    expected, got = (server.serve(data, tf.constant([o])) for o in (1, orientation))
    np.testing.assert_array_equal(got["boxes"], expected["boxes"])


def test_orientation_is_read_from_the_file():
    image = picture(20, 10, {})
    assert [predictions.orientation(encoded(image, "JPEG", o)) for o in range(1, 9)] == list(range(1, 9))
    assert predictions.orientation(encoded(image)) == 1
    assert predictions.orientation(encoded(image, "JPEG", 77)) == 1
    with pytest.raises(UserError, match="not a picture"):
        predictions.orientation(b"not a picture at all")


def _noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int) + rng.integers(
        -20, 20, (height, width, 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
