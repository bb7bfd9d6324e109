"""Parts and val are chosen by content: neither order nor new pictures move the others, and nothing leaks."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path

import numpy as np

from plantdoc.fetch import duplicates, split_assignment
from plantdoc.fetch.audit import Audited

RNG = np.random.default_rng(5)


def one(key: object, side: str = "train", label: str = "leaf", looks: bytes | None = None) -> Audited:
    sha = hashlib.sha256(str(key).encode()).hexdigest()
    looks = looks or hashlib.sha256(f"looks {key}".encode()).digest()
    box = ((0.0, 0.0, 9.0, 9.0), label)
    return Audited(side, f"{key}.jpg", Path("x"), "JPEG", 10, 10, (box,), (), sha, sha, looks, (), ())


def flip_bits(looks: bytes, count: int) -> bytes:
    bits = np.unpackbits(np.frombuffer(looks, np.uint8))
    bits[RNG.choice(256, count, replace=False)] ^= 1
    return np.packbits(bits).tobytes()


def assign(pictures: list[Audited], fraction: float = 0.2) -> tuple[dict[str, str], dict[str, str]]:
    sides, reasons = split_assignment.assign(pictures, duplicates.find(pictures, 16), fraction)
    names = [p.name for p in pictures]
    return dict(zip(names, sides, strict=True)), {n: r for n, r in zip(names, reasons, strict=True) if r}


def test_a_new_picture_moves_no_other_one():
    pictures = [one(i, label=f"class {i % 5}") for i in range(300)] + [one(f"t{i}", "test") for i in range(20)]
    before, _ = assign(pictures)
    for i in range(40):
        after, _ = assign([*pictures, one(f"new {i}", label="class 0")])
        assert {name: side for name, side in after.items() if name in before} == before


def test_order_does_not_count():
    pictures = [one(i) for i in range(200)] + [one(f"t{i}", "test") for i in range(20)]
    shuffled = random.Random(1).sample(pictures, len(pictures))
    assert assign(pictures)[0] == assign(shuffled)[0]


def test_each_class_gives_about_its_share():
    pictures = [one(i, label=f"class {i % 4}") for i in range(4000)] + [one("t", "test")]
    sides, _ = assign(pictures, 0.15)
    share = Counter(p.boxes[0][1] for p in pictures if sides[p.name] == "val")
    assert all(110 < share[f"class {i}"] < 190 for i in range(4))  # 150 expected, ± 3.5 standard deviations


def test_near_duplicates_stay_together_and_at_the_usual_share():
    pictures = [one("t", "test")]
    for i in range(400):
        looks = hashlib.sha256(f"group {i}".encode()).digest()
        pictures += [one(f"{i} {k}", looks=flip_bits(looks, k)) for k in range(4)]
    sides, reasons = assign(pictures)
    groups = [{sides[f"{i} {k}.jpg"] for k in range(4)} for i in range(400)]
    assert all(len(group) == 1 for group in groups) and not reasons
    assert 50 < sum(group == {"val"} for group in groups) < 110  # 80 expected


def test_what_stands_in_test_leaves_train_and_val():
    base = [one(i) for i in range(100)]
    twins = [one(f"twin {i}", "test", looks=flip_bits(p.looks, i % 20)) for i, p in enumerate(base)]
    sides, reasons = assign(base + twins)
    near = {f"{i}.jpg" for i in range(100) if i % 20 <= 16}
    assert {name for name, side in sides.items() if not side} == near
    assert set(reasons) == near and reasons["3.jpg"] == "stands in test as twin 3.jpg (near, 3 of 256 bits)"
    assert all(sides[p.name] == "test" for p in twins)


def test_a_val_split_of_the_source_is_kept_and_cleared_from_train():
    pictures = [one(i) for i in range(50)] + [one(f"v{i}", "val", looks=one(i).looks) for i in range(3)]
    sides, reasons = assign([*pictures, one("t", "test")])
    assert Counter(sides.values()) == {"train": 47, "val": 3, "": 3, "test": 1}
    assert set(reasons) == {"0.jpg", "1.jpg", "2.jpg"}


def test_without_a_test_split_one_is_cut():
    sides, _ = assign([one(i) for i in range(1000)])
    count = Counter(sides.values())
    assert 150 < count["test"] < 250 and 110 < count["val"] < 210 and count["train"] > 540


def test_a_part_is_stratified_and_holds_rare_classes():
    labels = ["common"] * 300 + ["some"] * 100 + ["rare"] * 2 + [""] * 20
    contents = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(len(labels))]
    taken = Counter(labels[i] for i in split_assignment.part(contents, labels, 42))
    assert sum(taken.values()) == 42
    assert taken["rare"] >= 1 and taken[""] >= 1 and 27 <= taken["common"] <= 31 and 9 <= taken["some"] <= 11
    order = random.Random(2).sample(range(len(labels)), len(labels))
    again = split_assignment.part([contents[i] for i in order], [labels[i] for i in order], 42)
    assert {contents[order[i]] for i in again} == {contents[i] for i in split_assignment.part(contents, labels, 42)}
    assert split_assignment.part(contents, labels, 10**6) == list(range(len(labels)))


def test_a_picture_counts_under_its_rarest_class():
    assert split_assignment.strata([["a", "b"], ["a"], ["a", "a"], []]) == ["b", "a", "a", ""]


def test_pairs_say_how_and_whether_the_labels_agree():
    a = one("a")
    same_bytes = one("a", "test", label="other")
    near = one("b", looks=flip_bits(a.looks, 2))
    pairs = duplicates.find([a, same_bytes, near], 4)
    assert [(p.first, p.second, p.kind, p.conflict) for p in pairs] == [
        (0, 1, "same bytes", True),
        (0, 2, "near, 2 of 256 bits", False),
        (1, 2, "near, 2 of 256 bits", True),
    ]


def test_groups_are_joined_over_any_number_of_steps():
    assert duplicates.groups(7, [(1, 2), (5, 6), (2, 5), (3, 4)]) == [0, 1, 1, 3, 3, 1, 1]
