"""What a shell says to TensorFlow and Keras changes no weight, and is named once."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from plantdoc.detector import tf_environment

# Three real steps on fixed batches; prints a hash of all that training changes. `bare` starts TensorFlow as it comes.
TRAIN = """
import hashlib, json, logging, sys
sys.path.insert(0, sys.argv[1] + "/src")
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
from plantdoc.core import params
from plantdoc.detector import tf_setup, tf_environment
from plantdoc.train import train_params
if sys.argv[2] == "bare":
    tf_environment.clean = lambda: None
settings = params.load(train_params.Params, sys.argv[1] + "/params.yaml")
tf_setup.configure(threads=2, seed=3)
import keras, numpy as np, tensorflow as tf
from plantdoc.detector import detector
from plantdoc.train.lr_schedule import WarmupCosine
from plantdoc.train.trainer import Trainer

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
# Read when a process starts, and so not to be removed.
LATE = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX2 FMA3",
}


def trained(root, home, how: str = "shielded", **variables: str) -> tuple[dict, str]:
    """What the training prints, and what it logs."""
    clean = {name: value for name, value in os.environ.items() if name not in {*tf_environment.found(), "HOME"}}
    for name in tf_environment.SET:
        clean.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAIN, str(root), how],
        env=clean | {"HOME": str(home)} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_all_that_steers_is_removed_and_named_once_and_the_rest_stays(monkeypatch, caplog):
    """M4, M8: by the beginnings of names, so that variables nobody thought of are among them."""
    for name in tf_environment.found():
        monkeypatch.delenv(name)
    steering = CHANGING | {name: value for name, value in OTHERS.items() if not name.startswith("OPENBLAS")}
    steering |= {"TF_NEW_IN_NEXT_VERSION": "1", "KERAS_BACKEND": "torch", "KERAS_MAX_EPOCHS": "1"}
    harmless = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "CUDA_VISIBLE_DEVICES": "0"}
    harmless |= {"TF_VAR_region": "eu-central-1", "NVIDIA_VISIBLE_DEVICES": "all", "LD_LIBRARY_PATH": "/opt/cuda"}
    for name, value in (steering | harmless).items():
        monkeypatch.setenv(name, value)
    assert tf_environment.found() == sorted(steering)
    with caplog.at_level(logging.INFO, "plantdoc"):
        tf_environment.clean()
        tf_environment.clean()
    assert [record.message for record in caplog.records] == [
        f"ignored, since they could change the result: {', '.join(sorted(steering))}"
    ]
    assert not {name for name in steering if os.environ.get(name) == steering[name]}
    assert {name: os.environ[name] for name in harmless} == harmless
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    # Keras reads no file of a person's, and leaves none behind.
    assert not os.path.exists(os.path.join(os.environ["KERAS_HOME"], "keras.json"))


@pytest.mark.full(150)
def test_with_another_projects_settings_the_weights_are_the_same(root, tmp_path):
    """M4, M8: and without the removal they are not."""
    home = tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    other = {"floatx": "float16", "backend": "torch", "image_data_format": "channels_first", "epsilon": 0.1}
    (home / ".keras/keras.json").write_text(json.dumps(other))
    plain, said = trained(root, tmp_path)
    assert plain["floatx"] == "float32" and "ignored" not in said
    for variables in (CHANGING | {"KERAS_BACKEND": "torch"}, OTHERS | LATE):
        found, said = trained(root, home, **variables)
        assert found == plain
        assert all(name in said for name in variables if name.startswith(tuple(tf_environment.STEERING)))
    # All of them: one alone may leave the weights of so short a training as they are, on some kinds of CPU.
    bare, _ = trained(root, tmp_path, "bare", **CHANGING)
    assert bare["weights"] != plain["weights"], "the training is too short to tell"
