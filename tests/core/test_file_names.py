"""plantdoc.core.file_names."""

from __future__ import annotations

import os

import pytest

from plantdoc.core import file_names


@pytest.mark.parametrize("letter", ["a", "é", "叶", "🍃"])
@pytest.mark.parametrize("longest", [255, file_names.LONGEST])
def test_names_fit_and_stay_alike_whatever_the_suffix(letter, longest):
    for length in range(1, longest + 40):
        stem = letter * length
        names = [file_names.shortened(stem + suffix, longest) for suffix in (".jpeg", ".txt", ".xml", ".webp")]
        assert all(len(os.fsencode(name)) <= longest for name in names)
        assert len({os.path.splitext(name)[0] for name in names}) == 1
        assert [os.path.splitext(name)[1] for name in names] == [".jpeg", ".txt", ".xml", ".webp"]
        if len(stem.encode()) <= longest - 20:
            assert names[0] == f"{stem}.jpeg"


def test_long_names_that_differ_stay_different():
    names = {file_names.shortened("a" * 300 + end) for end in ("1.jpg", "2.jpg", ".1 and then the end of a sentence")}
    assert len(names) == 3
