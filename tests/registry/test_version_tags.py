"""The registry reads versions from git tags, in order, and says what the next one is called."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_repo

from plantdoc.registry import version_tags


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits and no tag."""
    small_repo.git(tmp_path, "init", "-q", "-b", "main")
    for message in ("first", "second"):
        small_repo.git(tmp_path, "commit", "-q", "--allow-empty", "-m", message)
    return tmp_path


def test_without_tags_there_is_no_version_and_the_first_is_1_0_0(repository):
    assert version_tags.versions(repository) == []
    assert version_tags.latest(repository) is None
    assert version_tags.next_name(None, "patch") == "detector@v1.0.0"


def test_versions_are_ordered_by_number_and_name_the_tagged_commit(repository):
    first = small_repo.git(repository, "rev-parse", "HEAD~1").strip()
    for tag in ("detector@v1.10.0", "detector@v1.9.0", "detector@v0.9.9"):
        small_repo.git(repository, "tag", "-a", "-m", "x", tag, first)
    small_repo.git(repository, "tag", "detector@v2.0.0")
    found = version_tags.versions(repository)
    assert [version.number for version in found] == [(0, 9, 9), (1, 9, 0), (1, 10, 0), (2, 0, 0)]
    assert found[2].name == "detector@v1.10.0"
    assert found[2].revision.commit == first
    assert version_tags.latest(repository) == found[-1]


def test_tags_of_another_form_are_no_versions(repository):
    others = ("detector@v1", "detector@v01.0.0", "detector@v1.0.0!", "detector#prod#1", "other@v1.0.0", "v1.0.0")
    for tag in (*others, "detector@v1.0.0-rc1", "detector@1.0.0"):
        small_repo.git(repository, "tag", tag)
    assert version_tags.versions(repository) == []


@pytest.mark.parametrize(
    ("bump", "expected"), [("major", "detector@v2.0.0"), ("minor", "detector@v1.3.0"), ("patch", "detector@v1.2.4")]
)
def test_the_next_version_raises_the_part_asked_for(repository, bump, expected):
    small_repo.git(repository, "tag", "detector@v1.2.3")
    assert version_tags.next_name(version_tags.latest(repository), bump) == expected
