"""EC2 instance types with an NVIDIA GPU, by their names: a run's id depends on it, before AWS is asked.

The families with GPUs are named G, GR and P; those of them with "ad" (g4ad) have AMD's, which nothing here uses.
plantdoc.ec2.launch_config holds the answer against what AWS says of each type, before a machine is started.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from plantdoc.core.errors import UserError

_FAMILY = re.compile(r"(g|gr|p)\d+(?!ad)[a-z0-9-]*\.")
_BEFORE_TURING = re.compile(r"(g[23]s?|p[23](dn)?)\.")


def has_gpu(name: str) -> bool:
    """Whether machines of this type have an NVIDIA GPU."""
    return bool(_FAMILY.match(name))


def is_before_turing(name: str) -> bool:
    """Whether the type's NVIDIA GPU is older than Turing (V100, M60, K80, …).

    NVIDIA's open kernel modules drive Turing and later (github.com/NVIDIA/open-gpu-kernel-modules).
    """
    return bool(_BEFORE_TURING.match(name))


def have_gpu(names: Sequence[str]) -> bool:
    """Whether machines of these types have a GPU, all of them or none.

    Raises:
        UserError: some have and some have not. A run is trained on one kind, since its result depends on it.
    """
    with_gpu = [name for name in names if has_gpu(name)]
    without = [name for name in names if not has_gpu(name)]
    if with_gpu and without:
        raise UserError(
            f"runner.instance_types mixes types with a GPU ({', '.join(with_gpu)}) and without one "
            f"({', '.join(without)}): they install other libraries and train other models; keep one kind"
        )
    return bool(with_gpu)
