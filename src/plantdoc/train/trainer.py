"""One detector in training: its step, its moving average, its validation, and all of its state as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from plantdoc.coco import dataset, metrics
from plantdoc.core.errors import UserError
from plantdoc.detector.detector import Detector
from plantdoc.train.lr_schedule import WarmupCosine
from plantdoc.train.optimizer import optimizer
from plantdoc.train.train_params import Train

# Loss terms are means over boxes, a few units in size. With this factor SGD wants an lr of 0.1 to 0.2 per 256 pictures,
# as on ImageNet; Muon and AdamW do not mind.
LOSS_SCALE = 16.0
# Steps in which the moving average grows to its full length.
AVERAGE_WARMUP = 500


class Trainer:
    """A detector and its optimizer, on one device or on all GPUs of a `tf.distribute` strategy.

    What is validated and kept is a moving average of all variables, batch statistics included. While the training is
    young it is short: its decay is `ema` x (1 - exp(-step / 500)).
    """

    def __init__(self, detector: Detector, config: Train, rate: WarmupCosine, strategy: tf.distribute.Strategy):
        self.detector, self.config, self.rate, self.strategy = detector, config, rate, strategy
        self.step = 0
        model = detector.model
        layers = detector.network.backbone.layers
        for layer in layers[: round(config.frozen * len(layers))]:
            layer.trainable = False
        with strategy.scope():
            backbone = {id(v) for v in detector.network.backbone.trainable_variables}
            shares = [config.backbone_lr if id(v) in backbone else 1.0 for v in model.trainable_variables]
            self.optimizer = optimizer(config, shares)
            self.optimizer.exclude_from_weight_decay(
                var_list=[v for v in model.trainable_variables if len(v.shape) < 2]
            )
            if model.dtype_policy.name == "mixed_float16":
                self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(model.trainable_variables)
        self.average = [tf.Variable(v.numpy(), trainable=False) for v in model.variables]
        self.replicas = strategy.num_replicas_in_sync
        # XLA wants fixed shapes and pays on a GPU; on the CPU it is the shorter box list that pays. Over several GPUs
        # TensorFlow cannot compile the step, since they talk in the middle of it.
        self.compiled = bool(tf.config.list_physical_devices("GPU")) and self.replicas == 1
        self._step = tf.function(self._train_step, jit_compile=True if self.compiled else None, reduce_retracing=True)
        self._detect = tf.function(detector.detect, reduce_retracing=True)

    def train_one_epoch(self, batches: Iterable[dict], progress: Callable[[dict[str, float]], None]) -> dict:
        """Go once through `batches` (see `input_pipeline.train`); returns the mean loss terms and last learning rate.

        Raises:
            UserError: a loss is not finite; what is on disk is then still that of the epoch before.
        """
        if self.replicas > 1:
            batches = self.strategy.experimental_distribute_dataset(batches)
        sums: dict[str, float] = {}
        count, rate = 0, 0.0
        for batch in batches:
            rate = self.rate(self.step)
            self.optimizer.learning_rate = rate
            decay = self.config.ema * (1 - math.exp(-(self.step + 1) / AVERAGE_WARMUP))
            terms = {name: float(value) for name, value in self._step(batch, tf.constant(decay, tf.float32)).items()}
            if not all(map(math.isfinite, terms.values())):
                listed = ", ".join(f"{name} = {value:.4g}" for name, value in terms.items())
                raise UserError(
                    f"the loss is not finite at step {self.step} ({listed}; learning rate {rate:.3g}): lower lr or "
                    "raise train.warmup_epochs; models of earlier runs are in DVC's cache, untouched"
                )
            self.step += 1
            count += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            progress(terms)
        return {name: value / count for name, value in sums.items()} | {"lr": rate}

    def _train_step(self, batch: dict, decay: tf.Tensor) -> dict[str, tf.Tensor]:
        terms = self.strategy.run(self._replica_step, args=(batch,))
        terms = {name: self.strategy.reduce("MEAN", value, axis=None) for name, value in terms.items()}
        for average, variable in zip(self.average, self.detector.model.variables, strict=True):
            average.assign_sub((1 - decay) * (average - tf.cast(variable.value, average.dtype)))
        return terms

    def _replica_step(self, batch: dict) -> dict[str, tf.Tensor]:
        images, boxes, classes = batch["images"], batch["boxes"], tf.cast(batch["classes"], tf.float32)
        if not self.compiled:
            # Assignment costs anchors x boxes, and most pictures have far fewer boxes than the feed has rows.
            most = tf.maximum(1, tf.reduce_max(tf.reduce_sum(tf.cast(classes >= 0, tf.int32), axis=1)))
            boxes, classes = boxes[:, :most], classes[:, :most]
        network, variables = self.detector.network, self.detector.model.trainable_variables
        with tf.GradientTape() as tape:
            terms = network.losses(images, boxes, classes, network(images, training=True))
            loss = tf.add_n(list(terms.values())) * LOSS_SCALE
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in variables])
        if self.replicas > 1:  # the clip is of the whole batch's gradient
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        size = tf.linalg.global_norm(gradients) / (scaled / loss)
        # Keras sums over the replicas; the clip is at `clip_norm` of the unscaled loss terms.
        factor = tf.minimum(1.0, self.config.clip_norm * LOSS_SCALE / size) / self.replicas
        self.optimizer.apply([gradient * factor for gradient in gradients])
        return terms

    def validate(self, batches: tf.data.Dataset, truth: dataset.Split) -> dict[str, float]:
        """COCO figures of the moving average on batches of `input_pipeline.val`; `truth` has the boxes in pixels."""
        ids = [picture.id for picture in truth.pictures]
        predictions = []
        with self.averaged():
            for batch in batches:
                found = {name: value.numpy() for name, value in self._detect(batch["images"]).items()}
                for boxes, marks, classes in zip(found["boxes"], found["scores"], found["classes"], strict=True):
                    picture = ids.pop(0)
                    for (x1, y1, x2, y2), mark, label in zip(boxes, marks, classes, strict=True):
                        if label >= 0:
                            predictions.append(
                                {
                                    "image_id": picture,
                                    "category_id": int(label),
                                    "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                                    "score": float(mark),
                                }
                            )
        return metrics.coco_map(truth, predictions)

    def averaged(self) -> _Averaged:
        """A context in which the model holds the moving average."""
        return _Averaged(self)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next epoch depends on, as named arrays."""
        groups = {"model": self.detector.model.variables, "optimizer": self.optimizer.variables}
        arrays = {f"{name}/{i}": v.numpy() for name, group in groups.items() for i, v in enumerate(group)}
        arrays |= {f"average/{i}": v.numpy() for i, v in enumerate(self.average)}
        return arrays | {"step": np.array(self.step)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Go back to a `state`."""
        groups = {
            "model": self.detector.model.variables,
            "optimizer": self.optimizer.variables,
            "average": self.average,
        }
        for name, group in groups.items():
            for i, variable in enumerate(group):
                variable.assign(arrays[f"{name}/{i}"])
        self.step = int(arrays["step"])


class _Averaged:
    """Swaps the moving average into the model and the model's own values back."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def __enter__(self) -> None:
        variables = self.trainer.detector.model.variables
        self.own = [v.numpy() for v in variables]
        for variable, average in zip(variables, self.trainer.average, strict=True):
            variable.assign(average.numpy())

    def __exit__(self, *_) -> None:
        for variable, value in zip(self.trainer.detector.model.variables, self.own, strict=True):
            variable.assign(value)
