"""Files of weights (HDF5), which may come from strangers."""

from __future__ import annotations

from pathlib import Path

import h5py

from plantdoc.core.errors import UserError


def check(path: Path | str) -> None:
    """See that a file of weights holds its tensors itself.

    HDF5 can have it read others: by soft and external links, external storage and virtual datasets. Keras writes none.

    Raises:
        UserError: it names another file or place.
        OSError: it is no HDF5 file.
    """
    with h5py.File(path, "r") as file:
        name = _foreign("/", file) or file.visititems(_foreign)
    if name:
        raise UserError(
            f"{path}: {name!r} is not stored in this file but read from another place, which weights need not be: use "
            "a file that Keras has saved"
        )


def _foreign(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
    """The name of what leads elsewhere from this object; None where nothing does, which goes on with the next."""
    if isinstance(item, h5py.Dataset):
        return name if item.external or item.is_virtual else None
    links = ((key, item.get(key, getlink=True)) for key in item)
    return next((f"{name.rstrip('/')}/{key}" for key, link in links if not isinstance(link, h5py.HardLink)), None)
