"""TensorFlow set up the same way in every process: threads, seeds, determinism, and no chatter."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

from plantdoc.core.errors import UserError
from plantdoc.detector import tf_environment
from plantdoc.detector.tf_environment import HAS_NVIDIA

LEAST_MEMORY = 2.2e9  # bytes of address space: with 2.0e9 serve breaks off, with 2.2e9 it does not


def configure(threads: int, seed: int) -> None:
    """Pin CPU threads, seed everything and ask for deterministic ops; call before TensorFlow is imported.

    The order in which floats are summed depends on the number of threads, so `threads` is part of what makes a result.
    What the shell says to TensorFlow and Keras is not: see `tf_environment`.
    """
    with starting():
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        tf.config.list_logical_devices()


def devices(precision: str):
    """The `tf.distribute` strategy over all visible GPUs, and Keras's dtype policy that `precision` stands for.

    `auto` is mixed_float16 where there is a GPU and float32 where there is none.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if precision == "auto":
        precision = "mixed_float16" if gpus else "float32"
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy(), precision


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Have TensorFlow imported and started inside: with no settings of the shell's, in silence, and with room for it.

    Raises:
        UserError: this process may not take as much memory as TensorFlow takes for itself alone.
    """
    tf_environment.clean()
    # Checked here, since the libraries under TensorFlow end the process in the middle of a word when memory runs out.
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY:
        raise UserError(
            f"this shell lets a process have {limit / 1e9:.1f} GB of memory, and TensorFlow does not start in less "
            f"than {LEAST_MEMORY / 1e9:.1f} GB: raise the limit with `ulimit -v unlimited`, or in what has set it"
        )
    with muted():
        yield


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep TensorFlow's C++ from writing to stderr while it starts, on machines without an NVIDIA driver.

    It reports there, whatever its log level is, that it looked for CUDA and found none. Where there is a driver, what
    it says is worth reading.
    """
    if HAS_NVIDIA:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
