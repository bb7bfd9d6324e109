"""The code of a run as a small archive: what git tracks, as it is in the working tree now, and nothing secret."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from plantdoc.core import git, locks, stage_deps
from plantdoc.core.errors import UserError

LIMIT = 20_000_000  # bytes, unpacked
# What a training does not need; results change with every run, and would make every archive another.
_NEEDLESS = ("tests/", "docs/", "notebooks/", "benchmarks/", "results/", ".github/", ".ci/")
# Parts of the run that git need not track yet.
_ALWAYS = ("dvc.yaml", "dvc.lock", "params.yaml", locks.TRAIN, locks.GPU, "requirements.txt")
# fmt: off
_SECRET_NAMES = (
    ".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "credentials", "credentials.*", "*credentials.json",
    ".netrc", ".pypirc", ".npmrc", ".pgpass", ".git-credentials", "config.local", "secrets.*", "*.secret",
    ".aws", ".ssh", ".gnupg",
)
# fmt: on
_SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    rb"|(?i:aws_secret_access_key|secret_access_key)[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+=-]{16,}"
    rb"|\b(?:ghp|gho|ghs)_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{40,}"
)


@dataclass(frozen=True)
class Archive:
    """A .tar.gz: the same tree gives the same bytes. `left_out` are files that look like secrets."""

    content: bytes
    left_out: list[str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def make(root: Path | str = ".") -> Archive:
    """Pack the tree of the git repository `root`.

    Raises:
        UserError: it is too large, no git repository, a folder of code has files that git does not track, or a file
            that the training needs looks like a secret.
    """
    root = Path(root)
    needed = _needed(root)
    left_out, files = [], {}
    for name in _names(root, needed):
        path = root / name
        if not path.is_symlink() and not path.is_file():
            continue  # deleted, and not committed yet; or another repository inside
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        if _is_secret(name, content):
            left_out.append(name)
        else:
            files[name] = content
    if missing := sorted(needed & set(left_out)):
        raise UserError(
            f"{', '.join(missing)} looks as if it held a password or key, and the training needs it: nothing was sent; "
            "take the secret out of it"
        )
    if (size := sum(map(len, files.values()))) > LIMIT:
        largest = sorted(files, key=lambda name: -len(files[name]))[:3]
        raise UserError(
            f"the code to send is {size / 1e6:.0f} MB, and {LIMIT / 1e6:.0f} MB is the limit; the largest files in "
            f"git are {', '.join(f'{name} ({len(files[name]) / 1e6:.1f} MB)' for name in largest)}: "
            "keep data out of git (`dvc add` has it in S3 instead)"
        )
    return Archive(_pack(root, files), left_out)


def _needed(root: Path) -> set[str]:
    """The code that train depends on, and what describes the run."""
    listed = stage_deps.of("train", root)
    stage_deps.refuse_untracked(listed, root)
    return {name for name in (*stage_deps.files(listed, root), *_ALWAYS) if (root / name).is_file()}


def _names(root: Path, needed: set[str]) -> list[str]:
    tracked = git.text("ls-files", "--cached", "-z", root=root).split("\0")
    return sorted({name for name in tracked if name and not name.startswith(_NEEDLESS)} | needed)


def _is_secret(name: str, content: bytes) -> bool:
    parts = PurePosixPath(name.lower()).parts
    return any(fnmatch(part, pattern) for part in parts for pattern in _SECRET_NAMES) or bool(
        _SECRET_TEXT.search(content)
    )


def _pack(root: Path, files: dict[str, bytes]) -> bytes:
    """Names in order; no times, owners or other traces of this machine."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0, filename="") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in files.items():
            entry, path = tarfile.TarInfo(name), root / name
            if path.is_symlink():
                entry.type, entry.linkname, content = tarfile.SYMTYPE, content.decode(), b""
            else:
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
