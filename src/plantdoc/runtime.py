"""TensorFlow set up the same way in every process: threads, seeds, determinism, and no chatter."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from plantdoc import tf_environment
from plantdoc.tf_environment import HAS_NVIDIA


def configure(threads: int, seed: int) -> None:
    """Pin CPU threads, seed everything and ask for deterministic ops; call before TensorFlow is imported.

    The order in which floats are summed depends on the number of threads, so `threads` is part of what makes a result.
    What the shell says to TensorFlow and Keras is not: see `tf_environment`.
    """
    tf_environment.clean()
    with _muted():
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
def _muted() -> Iterator[None]:
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
