"""A command line that asks the public API."""

from __future__ import annotations

import shlex
from pathlib import Path

KEY = "PLANTDOC_API_KEY"  # variable of the shell that holds the key
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def line(url: str, access: str, region: str, token: bool = False, root: Path | str = ".") -> str:
    """A call of curl that sends a picture to the API. Keys and credentials are the shell's: its history keeps the line.

    Args:
        url: address of the API.
        access: key, iam or open.
        region: where the API is; its signatures name it.
        token: whether the person's credentials have a session token: curl would sign an empty one and not send it.
        root: where the repository is, of whose test pictures one is sent; the words are as seen from there.
    """
    picture = _picture(Path(root))
    words = ["curl", "-sS", *_credentials(access, region, token)]
    words += ["-H", f"'content-type: {_TYPES[picture.suffix.lower()]}'"]
    words += ["--data-binary", shlex.quote(f"@{picture.as_posix()}"), shlex.quote(f"{url}/predict?max=10")]
    return " ".join(words)


def _credentials(access: str, region: str, token: bool) -> list[str]:
    if access == "key":
        return ["-H", f'"x-api-key: ${KEY}"']
    if access == "iam":
        words = [f"--aws-sigv4 aws:amz:{region}:execute-api", '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"']
        return words + ['-H "x-amz-security-token: $AWS_SESSION_TOKEN"'] * token
    return []


def _picture(root: Path) -> Path:
    """A picture of the test split, seen from the root; where there is none, the name of one that a person has."""
    found = (path for path in (root / "data/raw/test").rglob("*") if path.suffix.lower() in _TYPES)
    return min((path.relative_to(root) for path in found), default=Path("leaf.jpg"))
