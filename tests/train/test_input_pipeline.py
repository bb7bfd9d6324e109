"""What training reads: a pure function of records, seed and epoch, with boxes on what they mark."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import coloured_pictures
import numpy as np
import pytest
from PIL import Image

import augment
from plantdoc.coco import dataset
from plantdoc.core.errors import UserError
from plantdoc.records import shards

BATCH = 6
PLAIN = {"seed": 1, "batch_size": BATCH, "flip": 0.0, "mosaic": 0.0}


@pytest.fixture(scope="module")
def feed(tf):
    """The module, which starts TensorFlow."""
    from plantdoc.train import input_pipeline

    return input_pipeline


@pytest.fixture(scope="module")
def mosaicked(tf):
    from plantdoc.train.mosaic import mosaicked

    return mosaicked


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root) -> Path:
    """Records of 26 training pictures, each seventh a negative, in two copies, and 8 val pictures."""
    work = tmp_path_factory.mktemp("data")
    coloured_pictures.data_set(work / "raw", 26, 8)
    (work / "tfrecords").mkdir()
    config = coloured_pictures.settings(root, copies=2, rotation=0.0, scale=0.3, quality=95, size=128)
    augment.build(work / "raw", work / "tfrecords", config, 0)
    return work / "tfrecords"


def digest(folder: Path, epoch: int, **options: float) -> str:
    from plantdoc.train import input_pipeline

    whole = hashlib.sha256()
    for batch in input_pipeline.train(folder, epoch, **PLAIN | options):
        for name in ("images", "boxes", "classes"):
            whole.update(batch[name].numpy().tobytes())
    return whole.hexdigest()


def content(batch: dict) -> set[bytes]:
    """The pictures of a batch, whatever their order."""
    return {picture.tobytes() for picture in batch["images"].numpy()}


def test_shapes_types_and_padding(feed, folder):
    epoch = feed.train(folder, 0, **PLAIN | {"flip": 0.5, "mosaic": 0.5})
    # XLA wants to know the shapes beforehand.
    assert {name: spec.shape.as_list() for name, spec in epoch.element_spec.items()} == {
        "images": [BATCH, 128, 128, 3],
        "boxes": [BATCH, 100, 4],
        "classes": [BATCH, 100],
    }
    batches = list(epoch)
    assert len(batches) == feed.steps(feed.meta(folder), BATCH) == 4
    for batch in batches:
        assert (batch["images"].shape, batch["images"].dtype.name) == ((BATCH, 128, 128, 3), "float32")
        assert (batch["boxes"].shape, batch["boxes"].dtype.name) == ((BATCH, 100, 4), "float32")
        assert (batch["classes"].shape, batch["classes"].dtype.name) == ((BATCH, 100), "int32")
        images, boxes, classes = (batch[name].numpy() for name in ("images", "boxes", "classes"))
        assert 100 < images.max() <= 255
        assert images.min() >= 0
        assert ((classes == -1) == (boxes == -1).all(axis=-1)).all()
        assert (boxes[classes >= 0] >= 0).all()
        assert (boxes[classes >= 0] <= 128).all()
        # Boxes come first, padding after them.
        assert (np.diff((classes >= 0).astype(int), axis=1) <= 0).all()


def test_negatives_pass_through(feed, folder):
    counts = [(classes >= 0).sum() for b in feed.train(folder, 0, **PLAIN) for classes in b["classes"].numpy()]
    assert counts.count(0) >= 2
    assert counts.count(1) >= 15


def test_an_epoch_shows_each_picture_of_one_copy_at_most_once(feed, folder):
    for epoch in (0, 1, 2):
        files = feed.meta(folder).files["train"][epoch % 2]
        there = {record.jpeg for file in files for record in shards.read(folder / file)}
        shown = [content(batch) for batch in feed.train(folder, epoch, **PLAIN)]
        assert len(set.union(*shown)) == 4 * BATCH <= len(there) == 26
    first, second, third = (next(iter(feed.train(folder, epoch, **PLAIN))) for epoch in (0, 1, 2))
    assert content(first) != content(second)
    assert content(first) != content(third), "the same copy comes in another order"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="order", marks=pytest.mark.full),
        pytest.param({"flip": 0.5}, id="flip", marks=pytest.mark.full),
        pytest.param({"mosaic": 0.5}, id="mosaic"),
        pytest.param({"half": True, "flip": 0.5}, id="half"),
    ],
)
def test_an_epoch_is_a_pure_function_of_seed_and_epoch(tf, folder, options):
    assert digest(folder, 0, **options) == digest(folder, 0, **options)
    made = {digest(folder, epoch, seed=seed, **options) for epoch in (0, 1, 2) for seed in (1, 2)}
    assert len(made) == 6


@pytest.mark.full
def test_new_process_repeats_the_same_epoch(tf, folder, root):
    """Also with another global seed, other threads, and no epoch before it."""
    code = (
        "import sys; sys.path[:0] = ['src', 'tests/support', 'tests/train']\n"
        "from pathlib import Path\n"
        "from plantdoc.detector import tf_setup\n"
        "tf_setup.configure(1, 99)\n"
        "import test_input_pipeline\n"
        f"print(test_input_pipeline.digest(Path({str(folder)!r}), 3, flip=0.5, mosaic=0.5))"
    )
    there = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True).stdout
    assert there.strip() == digest(folder, 3, flip=0.5, mosaic=0.5)


def test_boxes_lie_on_the_drawn_shapes(feed, folder):
    for options in ({}, {"flip": 1.0}, {"flip": 0.5}, {"flip": 0.5, "half": True}):
        seen = 0
        for batch in feed.train(folder, 0, **PLAIN | options):
            assert batch["images"].shape[1] == (64 if "half" in options else 128)
            seen += assert_on_shapes(batch, at_most=1.0)
        assert seen > 15


def assert_on_shapes(batch: dict, at_most: float) -> int:
    seen = 0
    for image, boxes, classes in zip(
        *(np.asarray(batch[name]) for name in ("images", "boxes", "classes")), strict=True
    ):
        for box, label in zip(boxes, classes, strict=True):
            if label >= 0:
                np.testing.assert_allclose(coloured_pictures.found(image, label), box, atol=at_most)
                seen += 1
    return seen


def test_flips_happen_with_the_given_probability(feed, folder):
    def pictures(flip: float) -> dict[bytes, np.ndarray]:
        batches = feed.train(folder, 0, **PLAIN | {"flip": flip})
        return [picture for batch in batches for picture in batch["images"].numpy()]

    plain, turned, some = (pictures(flip) for flip in (0.0, 1.0, 0.5))
    for before, after in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(before[:, ::-1], after)
    count = sum((before != after).any() for before, after in zip(plain, some, strict=True))
    assert 5 <= count <= 19


@pytest.fixture(scope="module")
def six() -> tuple:
    """A batch of six pictures of one rectangle each, of six colours: uint8 images, boxes, classes."""
    random = np.random.default_rng(3)
    images, boxes = [], np.full((6, 5, 4), -1, np.float32)
    for colour in range(6):
        placed = coloured_pictures.shapes(random, 120, 120, [colour])
        images.append(np.asarray(coloured_pictures.picture(120, 120, placed, "rectangle")))
        boxes[colour, 0] = placed[colour]
    classes = np.full((6, 5), -1, np.int32)
    classes[:, 0] = range(6)
    return np.stack(images), boxes, classes


@pytest.mark.parametrize("draws", range(8))
def test_mosaics_have_boxes_where_the_shapes_are_and_nowhere_else(tf, mosaicked, six, draws):
    draw = np.random.default_rng(draws).uniform(size=(6, 14)).astype(np.float32)
    images, boxes, classes = (
        tensor.numpy() for tensor in mosaicked(*map(tf.constant, six), tf.constant([True] * 6), tf.constant(draw))
    )
    # A mosaic holds four different pictures; a box is short only for what is cut off nearly whole.
    assert (classes >= 0).sum() >= 18
    assert assert_on_shapes({"images": images, "boxes": boxes, "classes": classes}, at_most=1.5) == (classes >= 0).sum()
    for i, (image, labels) in enumerate(zip(images, classes, strict=True)):
        own = [(i + quarter) % 6 for quarter in range(4)]
        assert set(labels[labels >= 0]) <= set(own)
        for colour in set(range(6)) - set(own):
            assert coloured_pictures.found(image, colour) is None
        for colour in set(own) - set(labels):
            seen, (x1, y1, x2, y2) = coloured_pictures.found(image, colour), six[1][colour, 0]
            # Shown at full size at most, so that a tenth of the area there is more than a tenth of it here.
            assert (
                seen is None
                or (seen[2:] - seen[:2]).prod() < 0.15 * (x2 - x1) * (y2 - y1)
                or ((seen[2:] - seen[:2]).min() <= 3)
            )


def test_mosaics_drop_what_remains_of_less_than_a_tenth(tf, mosaicked, six):
    images, _, classes = map(tf.constant, six)
    strips = np.full((6, 5, 4), -1, np.float32)
    strips[:, 0] = [0, 0, 120, 120]
    draw = np.full((6, 14), 0.5, np.float32)
    draw[:, :6] = 1.0  # the quarters meet at 0.7 of the sides, all at full size
    _, boxes, labels = mosaicked(images, tf.constant(strips), classes, tf.constant([True] * 6), tf.constant(draw))
    # The last quarter shows 0.3 x 0.3 of its picture.
    assert (labels.numpy() >= 0).sum(axis=1).tolist() == [3] * 6
    np.testing.assert_allclose(boxes.numpy()[0, :3], [[0, 0, 84, 84], [84, 0, 120, 84], [0, 84, 84, 120]], atol=1e-3)


def test_pictures_not_chosen_stay_as_they_are(tf, mosaicked, six):
    chosen = [True, False, True, False, False, True]
    draw = np.random.default_rng(0).uniform(size=(6, 14)).astype(np.float32)
    made = mosaicked(*map(tf.constant, six), tf.constant(chosen), tf.constant(draw))
    for before, after in zip(six, made, strict=True):
        for i, is_mosaic in enumerate(chosen):
            assert is_mosaic or (before[i] == after[i].numpy()).all()


def test_a_mosaic_of_more_boxes_than_rows_keeps_the_first(tf, mosaicked, six):
    images = tf.constant(six[0])
    boxes = tf.tile(tf.constant([[[50.0, 50, 70, 70]]]), [6, 5, 1])
    draw = tf.fill([6, 14], 0.5)
    _, made, labels = mosaicked(images, boxes, tf.zeros([6, 5], tf.int32), tf.constant([True] * 6), draw)
    assert (made.shape, labels.shape) == ((6, 5, 4), (6, 5))
    assert (labels.numpy() == 0).all()


def test_mosaics_happen_with_the_given_probability(feed, folder):
    def pictures(mosaic: float) -> list[np.ndarray]:
        batches = feed.train(folder, 0, **PLAIN | {"mosaic": mosaic})
        return [picture for batch in batches for picture in batch["images"].numpy()]

    plain, some, every = (pictures(mosaic) for mosaic in (0.0, 0.5, 1.0))
    assert 5 <= sum((a != b).any() for a, b in zip(plain, some, strict=True)) <= 19
    assert all((a != b).any() for a, b in zip(plain, every, strict=True))


def test_fewer_pictures_than_a_batch_are_repeated(feed, folder):
    (batch,) = feed.train(folder, 0, **PLAIN | {"batch_size": 60})
    assert batch["images"].shape[0] == 60
    assert len(content(batch)) == 26
    assert feed.steps(feed.meta(folder), 60) == 1


def test_more_boxes_than_rows_are_cut(feed, folder):
    for batch in feed.train(folder, 0, **PLAIN, max_boxes=1):
        assert batch["boxes"].shape == (BATCH, 1, 4)


def test_val_is_complete_in_order_and_agrees_with_its_truth(feed, folder):
    batches = list(feed.val(folder, 3))
    assert [len(batch["images"]) for batch in batches] == [3, 3, 2]
    ids = [i.decode() for batch in batches for i in batch["source_id"].numpy()]
    assert ids == [f"val/leaf {i:04}.jpg" for i in range(8)]
    truth = feed.val_truth(folder)
    assert [picture.file_name for picture in truth.pictures] == ids
    assert [picture.id for picture in truth.pictures] == list(range(1, 9))
    rows = [row for batch in batches for row in zip(batch["boxes"].numpy(), batch["classes"].numpy(), strict=True)]
    for picture, (boxes, classes) in zip(truth.pictures, rows, strict=True):
        assert [box.category for box in picture.boxes] == classes[classes >= 0].tolist()
        for box, (x1, y1, x2, y2) in zip(picture.boxes, boxes, strict=False):
            np.testing.assert_allclose(box.xywh, (x1, y1, x2 - x1, y2 - y1), atol=1e-3)
    for batch in batches:
        assert_on_shapes(batch, at_most=0.75)


def test_pixels_are_those_that_pillow_decodes(feed, folder):
    (file,) = feed.meta(folder).files["val"]
    jpegs = [record.jpeg for record in shards.read(folder / file)]
    for jpeg, picture in zip(jpegs, next(iter(feed.val(folder, 8)))["images"].numpy(), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(jpeg))), picture)


def test_without_val_pictures_val_is_empty(feed, tmp_path):
    shards.Meta(("leaf",), 128, 1, {"train": 1, "val": 0}, {"train": ((),), "val": ()}).save(tmp_path)
    assert list(feed.val(tmp_path, 4)) == []
    assert feed.val_truth(tmp_path) == dataset.Split(("leaf",), ())


def test_without_records_the_message_says_what_to_do(feed, tmp_path):
    with pytest.raises(UserError, match="dvc repro augment"):
        feed.train(tmp_path, 0, **PLAIN)


@pytest.mark.slow
def test_flip_is_that_of_kerascv(tf, feed, folder, keras_cv):
    picture = {
        "image": tf.constant(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)),
        "boxes": tf.constant([[10.0, 5, 40, 60], [0, 0, 96, 20]]),
    }
    layer = keras_cv.layers.RandomFlip("horizontal", rate=1.0, bounding_box_format="xyxy")
    theirs = layer(
        {
            "images": tf.cast(picture["image"], tf.float32)[None],
            "bounding_boxes": {"boxes": picture["boxes"][None], "classes": tf.zeros([1, 2])},
        }
    )
    ours = feed.flipped(picture)
    np.testing.assert_array_equal(ours["image"], theirs["images"][0])
    np.testing.assert_allclose(ours["boxes"], theirs["bounding_boxes"]["boxes"].to_tensor()[0], atol=1e-3)
