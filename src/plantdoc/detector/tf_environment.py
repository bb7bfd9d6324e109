"""Environment variables that change what TensorFlow computes, kept away from it.

Another project's settings must not give other weights without a word. So all that begins as one of STEERING is removed
before TensorFlow starts, but for what PASSED names, and Keras is told what else it would read from ~/.keras/keras.json.
Variables that NumPy and the C library read when a process starts (NPY_DISABLE_CPU_FEATURES, OPENBLAS_CORETYPE,
GLIBC_TUNABLES) cannot be removed so late; tests/detector/test_tf_environment.py shows that they change no weight.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger("plantdoc")
HAS_NVIDIA = Path("/dev/nvidiactl").exists()
# Beginning of the name → what such variables steer.
STEERING = {
    "TF_": "TensorFlow: oneDNN on or off, automatic compilation, rewriting of graphs, TF32, cuDNN's choice of kernels",
    "TF2_": "TensorFlow: behaviour of other versions",
    "TFE_": "TensorFlow: eager execution",
    "TFRT_": "TensorFlow: another runtime",
    "XLA_": "XLA: what its compiler fuses, its fast maths, GPU kernels",
    "ONEDNN_": "oneDNN: instruction set and precision of its kernels (ONEDNN_DEFAULT_FPMATH_MODE=BF16)",
    "DNNL_": "oneDNN by its older name",
    "MKL_": "Intel's maths library: instruction set, threads",
    "ZENDNN_": "AMD's kernels",
    "ITEX_": "Intel's extension of TensorFlow",
    "OMP_": "OpenMP: threads, and with them the order of sums",
    "KMP_": "OpenMP of Intel and LLVM",
    "GOMP_": "OpenMP of GCC",
    "EIGEN_": "Eigen: threads",
    "AUTOGRAPH_": "what TensorFlow makes of Python's control flow",
    "KERAS_": "Keras: backend, folder of keras.json, limits of epochs and steps",
    "CUBLAS_": "NVIDIA: workspace, and with it the order of sums",
    "CUDNN_": "NVIDIA: choice of kernels",
    "NVIDIA_TF32_OVERRIDE": "NVIDIA: TF32 for all libraries",
    "NCCL_ALGO": "NVIDIA: order of sums over GPUs",
    "NCCL_PROTO": "NVIDIA: order of sums over GPUs",
}
# Beginning of the name → why it may stay.
PASSED = {
    "TF_CPP_": "what is logged",
    "TF_FORCE_GPU_ALLOW_GROWTH": "how memory is taken, not what is computed",
    "TF_GPU_ALLOCATOR": "how memory is taken",
    "TF_DATA_DIR": "Terraform, and folders",
    "TF_CLI_": "Terraform",
    "TF_IN_AUTOMATION": "Terraform",
    "TF_INPUT": "Terraform",
    "TF_LOG": "Terraform",
    "TF_PLUGIN_CACHE": "Terraform",
    "TF_REGISTRY_": "Terraform",
    "TF_TOKEN_": "Terraform",
    "TF_VAR_": "Terraform",
    "TF_WORKSPACE": "Terraform",
    "AUTOGRAPH_VERBOSITY": "what is logged",
    "ONEDNN_VERBOSE": "what is logged",
    "DNNL_VERBOSE": "what is logged",
    "CUDNN_LOG": "what is logged",
    "CUBLAS_LOG": "what is logged",
}
# What Keras takes before its own file, a folder in which it finds none and cannot make one, and what TensorFlow itself
# sets.
SET = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "TF2_BEHAVIOR": "1"}


def found() -> list[str]:
    """The variables of this process that would change what is computed, sorted."""
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(tuple(STEERING)) and not name.startswith(tuple(PASSED)) and value != SET.get(name)
    )


def clean() -> None:
    """Remove these variables, say so once, and set what Keras needs; call before TensorFlow is imported."""
    if removed := found():
        log.info("ignored, since they could change the result: %s", ", ".join(removed))
    for name in removed:
        del os.environ[name]
    os.environ.update(SET)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if HAS_NVIDIA else "3")
