"""What a shell says to TensorFlow and Keras changes no weight, and is named once."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from plantdoc import tf_environment

# Three real steps on fixed batches; prints a hash of all that training changes. `bare` starts TensorFlow as it comes.
TRAIN = """
import hashlib, json, logging, sys
sys.path.insert(0, sys.argv[1] + "/src")
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
from plantdoc import params, runtime, tf_environment
if sys.argv[2] == "bare":
    tf_environment.clean = lambda: None
settings = params.load(sys.argv[1] + "/params.yaml")
runtime.configure(threads=2, seed=3)
import keras, numpy as np, tensorflow as tf
from plantdoc import detector
from plantdoc.schedule import WarmupCosine
from plantdoc.trainer import Trainer

net = detector.Detector(detector.Config.of(settings.model, 64, ("apple scab", "corn rust", "leaf"), {}))
trainer = Trainer(net, settings.train, WarmupCosine(0.2, 8, 2, 3), tf.distribute.get_strategy())
draw = np.random.default_rng(2)
corners = draw.uniform(0, 30, (3, 8, 4, 2))
batches = tf.data.Dataset.from_tensor_slices({
    "images": draw.uniform(0, 255, (3, 8, 64, 64, 3)).astype(np.float32),
    "boxes": np.concatenate([corners, corners + draw.uniform(8, 30, (3, 8, 4, 2))], axis=-1).astype(np.float32),
    "classes": draw.integers(0, 3, (3, 8, 4)).astype(np.int32),
})
terms = trainer.train_one_epoch(batches, lambda row: None)
state = trainer.state()
digest = hashlib.sha256(b"".join(state[name].tobytes() for name in sorted(state))).hexdigest()
print(json.dumps({"weights": digest, "terms": terms, "floatx": keras.config.floatx()}))
"""
# Those known to change weights, and a Keras of another project.
CHANGING = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
# Others that steer the same libraries, or NumPy and the C library under them.
OTHERS = {
    "DNNL_MAX_CPU_ISA": "SSE41",
    "KMP_AFFINITY": "disabled",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_NUM_THREADS": "1",
    "NVIDIA_TF32_OVERRIDE": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CUDNN_DETERMINISTIC": "0",
    "TF_DETERMINISTIC_OPS": "0",
    "TF_ENABLE_ZENDNN_OPTS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
}


def trained(root, home, how: str = "shielded", **variables: str) -> tuple[dict, str]:
    """What the training prints, and what it logs."""
    clean = {name: value for name, value in os.environ.items() if name not in {*tf_environment.found(), "HOME"}}
    for name in tf_environment.SET:
        clean.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(root), how],
        env=clean | {"HOME": str(home)} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr
