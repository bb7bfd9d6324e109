"""Check that Keras is the version whose private parts this project uses, and list those parts.

Keras promises nothing about names that begin with an underscore. Ours are `Optimizer._get_variable_index` and
`Muon._should_use_adamw` (plantdoc.train.optimizer) and `Layer._flatten_layers` (plantdoc.detector.kerascv). A new minor
version may rename them, and a renamed hook that is overridden is never called: the training would go wrong without an
error.
"""

from __future__ import annotations

import keras

from plantdoc.core.errors import UserError

TESTED = "3.15"  # major and minor version


def check(version: str | None = None) -> None:
    """Stop where the installed Keras is of another minor version than the tested one.

    Raises:
        UserError: it is; the message says how to get the tested one.
    """
    installed: str = version or keras.version()
    if installed.split(".")[:2] != TESTED.split("."):
        raise UserError(
            f"Keras {installed} is installed, and training uses private parts of Keras that are tested with {TESTED}: "
            "`make setup` installs the locked version. To move to another one, compare these parts (listed in "
            "src/plantdoc/detector/keras_private.py) and change TESTED there"
        )
