"""DVC's settings and the default remote in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plantdoc.core import dvc_config
from plantdoc.core.errors import UserError
from plantdoc.remote import cached_outputs, remote_config


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty DVC repository as the current directory, with no settings outside of it."""
    for level in ("SYSTEM", "GLOBAL"):
        monkeypatch.setenv(f"DVC_{level}_CONFIG_DIR", str(tmp_path / level))
        (tmp_path / level).mkdir()
    here = tmp_path / "here"
    (here / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def remote(name: str = "storage", default: bool = True, **settings: str) -> str:
    lines = [f"['remote \"{name}\"']", *(f"    {key} = {value}" for key, value in settings.items())]
    return "\n".join([*(["[core]", f"    remote = {name}"] if default else []), *lines, ""])


def test_the_settings_of_all_levels_are_merged_and_the_last_one_wins(folder, tmp_path):
    system = remote("Elsewhere", url="s3://other/dvc", region="eu-west-1", profile="a", ssl_verify="False")
    (tmp_path / "SYSTEM/config").write_text(system)
    (tmp_path / "GLOBAL/config").write_text(remote("elsewhere", default=False, region="eu-west-2", profile="b"))
    (folder / ".dvc/config").write_text(remote("elsewhere", default=False, region="eu-west-3"))
    (folder / ".dvc/config.local").write_text(remote("elsewhere", default=False, secret_access_key="hush"))
    found = remote_config.default()
    assert (found.name, found.url, found.on_s3) == ("elsewhere", "s3://other/dvc", True)
    wanted = {"region": "eu-west-3", "profile": "b", "secret_access_key": "hush", "ssl_verify": False}
    assert wanted.items() <= found.settings.items()
    assert "hush" not in repr(found)


def test_a_folder_is_relative_to_the_file_that_names_it(folder, tmp_path):
    (folder / ".dvc/config").write_text(remote(url="../../storage") + "[cache]\n    dir = ../../cache\n")
    found = dvc_config.default_remote(folder)
    assert (found.url, found.on_s3) == (str(tmp_path / "storage"), False)
    assert cached_outputs.cache() == tmp_path / "cache/files/md5"


def test_without_any_settings(folder):
    assert dvc_config.default_remote() is None
    assert cached_outputs.cache() == folder / ".dvc/cache/files/md5"
    with pytest.raises(UserError, match=r"no default remote: restore it with `git checkout \.dvc/config`"):
        remote_config.default()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[core]\n    remote = gone\n",
            "default remote is 'gone', which its settings do not describe.*`dvc remote list`",
        ),
        (remote(region="eu-west-1"), "cannot be read: .*expected 'url'.*restore .dvc/config with `git checkout"),
        (remote(url="s3://b/dvc", regoin="x"), "cannot be read: .*extra keys not allowed.*regoin"),
        ("[core\nremote", "DVC's settings cannot be read: "),
        (b"[core]\n    remote = \xe9\n", "DVC's settings cannot be read: "),
    ],
)
def test_settings_that_are_wrong_are_said_in_one_line_with_the_remedy(folder, text, message):
    (folder / ".dvc/config").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as refused:
        remote_config.default()
    assert "\n" not in str(refused.value)


def test_what_is_committed_is_told_as_it_is_written(folder):
    (folder / ".dvc/config").write_text(remote(url="../../storage", verify="true"))
    (folder / ".dvc/config.local").write_text(remote(url="s3://b/dvc"))
    assert remote_config.committed() == {"url": "../../storage", "verify": "true"}
    (folder / ".dvc/config").write_text("[core\nremote")
    with pytest.raises(UserError, match=r"^\.dvc/config cannot be read: .*`git checkout \.dvc/config`"):
        remote_config.committed()
