"""Which anchor learns which leaf."""

from __future__ import annotations

import numpy as np


def assign(tf, scores, boxes, anchors, truth, labels):
    """`task_aligned` on one picture, as NumPy arrays without the batch axis."""
    from plantdoc.detector.label_assignment import task_aligned

    found = task_aligned(
        tf.constant([scores], tf.float32),
        tf.constant([boxes], tf.float32),
        tf.constant(anchors, tf.float32),
        tf.constant([truth], tf.float32),
        tf.constant([labels], tf.int32),
    )
    return [value.numpy()[0] for value in found]


def test_iou_of_known_boxes(tf):
    from plantdoc.detector.label_assignment import iou

    a = tf.constant([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]], tf.float32)
    b = tf.constant([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]], tf.float32)
    np.testing.assert_allclose(iou(a, b), [1, 1 / 3, 0, 0], rtol=1e-6)


def test_only_anchors_inside_are_positive_and_the_best_one_scores_its_overlap(tf):
    anchors = [[5, 5], [15, 5], [40, 40]]
    boxes = [[0, 0, 20, 10], [0, 0, 10, 10], [0, 0, 20, 10]]
    truth, labels = [[0, 0, 20, 10], [-1, -1, -1, -1]], [1, -1]
    targets, wanted, positive = assign(tf, np.full((3, 2), 0.5), boxes, anchors, truth, labels)
    assert positive.tolist() == [True, True, False]
    np.testing.assert_allclose(targets[0], truth[0])
    # The first anchor predicts the box exactly; the second overlaps by a half, and a half to the sixth power of that.
    np.testing.assert_allclose(wanted, [[0, 1], [0, 0.5**6], [0, 0]], rtol=1e-5)


def test_a_far_too_large_box_does_not_beat_a_fair_one(tf):
    # The complete IoU of the first is -0.6 or so: to the sixth power that would beat the second.
    anchors = [[10, 10], [12, 12]]
    boxes = [[-400, -20, 30, 900], [4, 4, 24, 24]]
    _, wanted, _ = assign(tf, np.full((2, 1), 0.5), boxes, anchors, [[0, 0, 20, 20]], [0])
    assert wanted[1, 0] > 0.4
    assert wanted[0, 0] < 1e-6


def test_an_anchor_inside_two_leaves_goes_to_the_one_it_overlaps_most(tf):
    truth = [[0, 0, 10, 10], [0, 0, 40, 40]]
    targets, wanted, _ = assign(tf, np.full((1, 2), 0.5), [[0, 0, 36, 36]], [[5, 5]], truth, [0, 1])
    np.testing.assert_allclose(targets[0], truth[1])
    np.testing.assert_allclose(wanted[0], [0, 0.81], rtol=1e-5)


def test_at_most_ten_anchors_learn_a_leaf_and_higher_scores_go_first(tf):
    anchors = [[i + 0.5, 5] for i in range(20)]
    scores = np.linspace(0.1, 0.9, 20)[:, None]
    _, _, positive = assign(tf, scores, [[0, 0, 20, 10]] * 20, anchors, [[0, 0, 20, 10]], [0])
    assert positive.tolist() == [False] * 10 + [True] * 10


def test_without_boxes_nothing_is_positive(tf):
    _, wanted, positive = assign(tf, np.full((2, 3), 0.5), [[0, 0, 9, 9]] * 2, [[4, 4], [5, 5]], [[-1] * 4], [-1])
    assert not positive.any() and not wanted.any()


def test_a_padding_row_gets_no_anchor_whatever_it_holds(tf):
    box = [0, 0, 10, 10]
    targets, wanted, positive = assign(tf, np.full((1, 2), 0.5), [box], [[5, 5]], [box, [0, 0, 9, 9]], [-1, 0])
    assert positive.tolist() == [True] and wanted[0, 1] == 0
    np.testing.assert_allclose(targets[0], [0, 0, 9, 9])
    np.testing.assert_allclose(wanted[0, 0], 0.81, rtol=1e-5)
    _, _, positive = assign(tf, np.full((1, 2), 0.5), [box], [[5, 5]], [box], [-1])
    assert positive.tolist() == [False]
