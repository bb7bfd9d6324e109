"""Class names in one spelling, file names fit for a flat folder."""

from __future__ import annotations

import random

from plantdoc.fetch import naming


def test_case_and_blanks_do_not_make_a_class():
    counts = {"grape leaf": 9, "Grape leaf": 2, " grape  LEAF": 1, "Apple leaf": 1}
    assert naming.spellings(counts, {}) == dict.fromkeys(list(counts)[:3], "grape leaf") | {"Apple leaf": "Apple leaf"}


def test_aliases_are_compared_without_case_and_keep_their_spelling():
    aliases = {"Soybean leaf": "Soyabean leaf"}
    counts = {"soybean LEAF": 1, "SOYABEAN leaf": 50, "Tomato": 1}
    assert naming.spellings(counts, aliases) == {
        "soybean LEAF": "Soyabean leaf",
        "SOYABEAN leaf": "Soyabean leaf",
        "Tomato": "Tomato",
    }


def test_any_character_stays_but_control_characters():
    given = ["TRAIN/15%20A&B=C,+D.jpg", "TRAIN/sub/what? now.JPG", "TRAIN/line\nbreak\x00.jpg", "TRAIN/\udcff.jpg"]
    kept = naming.flat(given, ["JPEG"] * 4)
    assert kept == ["15%20A&B=C,+D.jpg", "what? now.JPG", "line_break_.jpg", "_.jpg"]


def test_clashes_after_flattening_are_told_apart_whatever_the_order():
    given = ["a/x.jpg", "b/x.jpg", "c/X.JPG", "c/y.jpg", "d/x.png"]
    kinds = ["JPEG", "JPEG", "JPEG", "JPEG", "JPEG"]  # x.png is a JPEG: it clashes as well
    result = dict(zip(given, naming.flat(given, kinds), strict=True))
    assert len({name.casefold() for name in result.values()}) == 5
    assert result["c/y.jpg"] == "y.jpg"
    for _ in range(5):
        random.Random(0).shuffle(given)
        assert dict(zip(given, naming.flat(given, kinds), strict=True)) == result


def test_names_that_differ_in_case_alone_clash_as_well():
    one, other = naming.flat(["a/x.jpg", "b/X.JPG"], ["JPEG", "JPEG"])
    assert one.casefold() != other.casefold()


def test_long_names_fit_the_file_system():
    (name,) = naming.flat(["ü" * 300 + ".jpeg"], ["JPEG"])
    assert len(name.encode()) <= 200 and name.endswith(".jpeg")
