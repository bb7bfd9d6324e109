"""Sources of pictures: the drawn sample, PlantDoc's repository, a folder, an archive, or S3."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plantdoc.core import s3_download
from plantdoc.core.errors import UserError
from plantdoc.core.workspace import main_root
from plantdoc.fetch import archive, git_checkout, source_place
from plantdoc.fetch.fetch_params import Fetch
from plantdoc.fetch.sample import generator


@dataclass(frozen=True)
class Origin:
    """Author and licence of the pictures; goes into data/raw/source.json, reports and the model card."""

    source: str
    name: str
    licence: str
    attribution: str
    url: str
    note: str = ""


_PLANTDOC = (
    "PlantDoc: A Dataset for Visual Plant Disease Detection. Singh, Jain, Jain, Kayal, Kumawat, Batra "
    "(CoDS-COMAD 2020, arXiv:1911.10317)"
)


def bring(fetch: Fetch, seed: int, scratch: Path) -> tuple[Path, Origin]:
    """Bring the source named by `fetch.source` to disk.

    Args:
        fetch: the fetch section of params.yaml.
        seed: draws the sample.
        scratch: a folder for what is downloaded, unpacked or drawn; a folder given as source is read where it is.

    Returns:
        The folder with the pictures, and whose they are.

    Raises:
        UserError: the source is unknown, cannot be reached, or is not safe to unpack.
    """
    source_place.refuse_outputs(fetch.source, main_root())
    to = scratch / "source"
    to.mkdir()
    if fetch.source == "sample":
        generator.write(to, seed)
        return to, Origin("sample", "the sample", "Apache-2.0", "drawn by this project", "", "drawn, not photographed")
    if fetch.source == "plantdoc":
        git_checkout.checkout(fetch.repository, fetch.commit, to)
        return to, Origin("plantdoc", "PlantDoc", "CC BY 4.0", _PLANTDOC, f"{fetch.repository}@{fetch.commit}")
    if fetch.source.startswith("s3://"):
        name, url = fetch.source.rstrip("/").rpartition("/")[2], fetch.source
        folder = s3_download.download(fetch.source, scratch / "download")
        if folder.is_file():
            archive.unpack(folder, to)
            folder = to
    else:
        # In a copy made by DVC's queue a relative path would point elsewhere.
        folder = main_root() / Path(fetch.source).expanduser()
        name, url = folder.name, ""
        if folder.is_file():
            archive.unpack(folder, to)
            folder = to
        elif not folder.is_dir():
            raise UserError(
                f"fetch.source = {fetch.source!r} is none of: sample, plantdoc, a folder, an archive "
                f"(.zip, .tar, .tar.gz), s3://bucket/prefix; looked for {folder}"
            )
    return folder, Origin(fetch.source, name, fetch.licence, fetch.attribution, url)
