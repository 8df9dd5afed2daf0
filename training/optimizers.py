"""The optimizers of both recipes as formulas on one flat vector of weights, in Keras' arithmetic.

Keras updates a model variable by variable, a dozen small operations for each; one formula for all is one dozen.
Their `update` takes the state of the loop, the gradient float32 [parameters], the layout of both, and the number of the
step from 0; it gives the new `weights` and `slots`.
"""

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from training.weights import Layout

Tensor = Any
State = dict[str, Tensor]


@dataclass(frozen=True)
class RMSprop:
    """Keras' RMSprop with its defaults (rho 0.9, epsilon 1e-7), which the notebook uses."""

    learning_rate: float = 1e-3
    slots = ("velocity",)

    def rate(self, step: Tensor) -> Tensor:
        """Give the learning rate of a step."""
        return tf.fill(tf.shape(step), self.learning_rate)

    def update(self, state: State, gradient: Tensor, _: Layout, step: Tensor) -> State:
        """Divide the gradient by a moving average of its size."""
        velocity = 0.9 * state["velocity"] + (1 - 0.9) * tf.square(gradient)
        weights = state["weights"] - self.rate(step) * gradient / tf.sqrt(velocity + 1e-7)
        return {"weights": weights, "velocity": velocity}


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """A linear warm-up to the rate `peak`, then half a cosine down to zero (Smith & Topin 2018).

    `steps` is the length of the whole training, `warm_up` its part that warms up.
    """

    peak: float
    steps: int
    warm_up: float

    def rate(self, step: Tensor) -> Tensor:
        """Give the learning rate of a step, from a 25th of the peak over the peak to nothing."""
        done = tf.cast(step, tf.float32) / self.steps
        rising = self.peak * (0.04 + 0.96 * done / self.warm_up)
        falling = self.peak * 0.5 * (1 + tf.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))
        return tf.where(done < self.warm_up, rising, falling)


@dataclass(frozen=True, kw_only=True)
class Muon(OneCycle):
    """Muon (Jordan et al. 2024) for the hidden kernels, AdamW (Loshchilov & Hutter 2019) for all other weights.

    AdamW's betas are 0.9 and 0.99; biases do not decay.

    A hidden layer's step has all its singular values near one: directions that the gradient shows weakly are learned
    as well. A step is as large as AdamW's, so that both have one rate (Liu et al. 2025, arXiv 2502.16982). The
    arithmetic is keras.optimizers.Muon's, which leaves convolutions to AdamW; here a kernel is the matrix
    [height · width · channels, filters].
    """

    weight_decay: float
    slots = ("momentum", "velocity")

    def update(self, state: State, gradient: Tensor, layout: Layout, step: Tensor) -> State:
        """Let kernels decay, then step."""
        rate = self.rate(step)
        hidden = layout.mask(layout.hidden) > 0
        beta = tf.where(hidden, 0.95, 0.9)
        momentum = state["momentum"] + (1 - beta) * (gradient - state["momentum"])
        velocity = state["velocity"] + (1 - 0.99) * (tf.square(gradient) - state["velocity"])
        ahead = momentum + (1 / 0.95 - 1) * gradient  # Nesterov's, but for a factor that orthogonal() takes out
        steps = [
            orthogonal(part) if chosen else tf.zeros_like(part)
            for part, chosen in zip(layout.unflatten(ahead), layout.hidden, strict=True)
        ]
        taken = tf.where(hidden, layout.flatten(steps), _adam(momentum, velocity, tf.cast(step + 1, tf.float32)))
        kept = state["weights"] * (1 - rate * self.weight_decay * layout.kernels)
        return {"weights": kept - rate * taken, "momentum": momentum, "velocity": velocity}


def _adam(momentum: Tensor, velocity: Tensor, count: Tensor) -> Tensor:
    """Give Adam's step number `count`; betas 0.9 and 0.99."""
    return tf.sqrt(1 - 0.99**count) / (1 - 0.9**count) * momentum / (tf.sqrt(velocity) + 1e-7)


def orthogonal(kernel: Tensor) -> Tensor:
    """Bring the singular values of a kernel [..., filters] near one, and its mean square to about 0.2².

    Five Newton-Schulz iterations X → (3.4445 - 4.7750 XXᵀ + 2.0315 (XXᵀ)²) X, which leave the values between about 0.7
    and 1.2. Their factors, polynomials of the first XXᵀ, are multiplied before they meet the larger X.
    """
    matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
    size = 0.2 * math.sqrt(max(matrix.shape))
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else tf.transpose(matrix)
    wide /= tf.norm(wide) + 1e-7
    square, product = tf.matmul(wide, wide, transpose_b=True), tf.eye(wide.shape[0])
    for _ in range(5):
        factor = 3.4445 * tf.eye(wide.shape[0]) - 4.7750 * square + 2.0315 * tf.matmul(square, square)
        square, product = tf.matmul(factor, tf.matmul(square, factor)), tf.matmul(factor, product)
    wide = tf.matmul(product, wide)
    back = wide if matrix.shape[0] <= matrix.shape[1] else tf.transpose(wide)
    return size * tf.reshape(back, kernel.shape)
