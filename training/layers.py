"""Layers that Keras lacks or computes slowly, registered and serialisable: no Lambda layer, which is unsafe to load."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Tensor = Any


@keras.saving.register_keras_serializable(package="mnist_digits")
class Conv2D(keras.layers.Conv2D):
    """Keras' Conv2D, as a matrix product where a "valid" kernel covers its whole input and the output is one pixel.

    oneDNN's convolution of 3×3 on 3×3 pixels takes a third of model A's step (AVX2, batches of 128).
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Convolve float [n, height, width, channels]."""
        if self.padding != "valid" or tuple(inputs.shape[1:3]) != self.kernel_size:
            return super().call(inputs)
        kernel = keras.ops.reshape(self.kernel, [-1, self.filters])
        output = keras.ops.matmul(keras.ops.reshape(inputs, [-1, kernel.shape[0]]), kernel)
        output = output + self.bias if self.use_bias else output
        return self.activation(output)[:, None, None, :]


@keras.saving.register_keras_serializable(package="mnist_digits")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' BatchNormalization with TensorFlow's fused kernel in training instead of a dozen operations.

    Input and output: float [n, height, width, channels]. As everywhere in TensorFlow, the variance that is kept for
    later is the unbiased one.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:
        """Normalize over all but the last axis; by what was kept, unless in training."""
        if not training:
            return super().call(inputs, training=False)
        none = tf.zeros([0])
        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=none,
            variance=none,
            epsilon=self.epsilon,
            is_training=True,
        )
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept.assign(kept * self.momentum + new * (1 - self.momentum))
        return output


@keras.saving.register_keras_serializable(package="mnist_digits")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each value by a power of the sum of squares over its neighbouring channels (Krizhevsky et al. 2012, §3.3).

    The formula of `tf.nn.local_response_normalization`: x / (bias + alpha · Σ x²)^beta, the sum over the channels at
    most `depth_radius` away, with beta fixed at 0.75. Written as a banded matrix product with
    s^-0.75 = rsqrt(s) · rsqrt(√s), which takes 4 % of model D's training step instead of 12 %; the two differ by at
    most 1e-6. Input and output: float [n, height, width, channels].
    """

    def __init__(self, depth_radius: int = 2, bias: float = 1.0, alpha: float = 2e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth_radius, self.bias, self.alpha = depth_radius, bias, alpha

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize over the last axis."""
        channel = np.arange(inputs.shape[-1])
        near = np.abs(channel[:, None] - channel) <= self.depth_radius
        band = tf.constant(self.alpha * near, inputs.dtype)
        scale = self.bias + tf.linalg.matmul(tf.square(inputs), band)
        return inputs * tf.math.rsqrt(scale) * tf.math.rsqrt(tf.sqrt(scale))

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments."""
        own = {"depth_radius": self.depth_radius, "bias": self.bias, "alpha": self.alpha}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mnist_digits")
class Inception(keras.layers.Layer):
    """Four parallel branches, concatenated over channels (GoogLeNet, Szegedy et al. 2014, figure 2b).

    1×1 `n1` | 1×1 `r3` → 3×3 `n3` | 1×1 `r5` → 5×5 `n5` | 3×3 max pooling, stride 1 → 1×1 `pool`; all "same" and ReLU.
    Input: float [n, height, width, channels]; output: the same with n1 + n3 + n5 + pool channels.
    """

    def __init__(self, n1: int, n3: int, n5: int, pool: int, r3: int, r5: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = {"n1": n1, "n3": n3, "n5": n5, "pool": pool, "r3": r3, "r5": r5}

        def convolution(name: str, kernel_size: int) -> keras.layers.Layer:
            return Conv2D(self.sizes[name], kernel_size, padding="same", activation="relu", name=name)

        self.branches = [
            [convolution("n1", 1)],
            [convolution("r3", 1), convolution("n3", 3)],
            [convolution("r5", 1), convolution("n5", 5)],
            [keras.layers.MaxPooling2D(3, strides=1, padding="same"), convolution("pool", 1)],
        ]
        self.concatenate = keras.layers.Concatenate()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the six convolutions' weights."""
        for branch in self.branches:
            shape = input_shape
            for layer in branch:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Run the branches side by side; the three 1×1 convolutions that read the input are one."""
        (n1,), (r3, n3), (r5, n5), (pooling, pool) = self.branches
        first = [n1, r3, r5]
        kernel = keras.ops.concatenate([layer.kernel for layer in first], axis=-1)
        bias = keras.ops.concatenate([layer.bias for layer in first], axis=0)
        merged = keras.ops.relu(keras.ops.conv(inputs, kernel) + bias)
        own, reduced3, reduced5 = tf.split(merged, [layer.filters for layer in first], axis=-1)
        return self.concatenate([own, n3(reduced3), n5(reduced5), pool(pooling(inputs))])

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments."""
        return {**super().get_config(), **self.sizes}


def load(path: Path) -> keras.Model:
    """Read a saved model that may have these layers; importing this module has registered them."""
    return keras.saving.load_model(path, compile=False)
