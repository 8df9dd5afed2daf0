"""The optimizers of both recipes as formulas on one flat vector of weights, in Keras' arithmetic.

Keras updates a model variable by variable, a dozen small operations for each; one formula for all is one dozen.
Their `update` takes the state of the loop, the gradient float32 [parameters], a mask of the weights that decay, and the
number of the step from 0; it gives the new `weights` and `slots`.
"""

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

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

    def update(self, state: State, gradient: Tensor, _: Tensor, step: Tensor) -> State:
        """Divide the gradient by a moving average of its size."""
        velocity = 0.9 * state["velocity"] + (1 - 0.9) * tf.square(gradient)
        weights = state["weights"] - self.rate(step) * gradient / tf.sqrt(velocity + 1e-7)
        return {"weights": weights, "velocity": velocity}


@dataclass(frozen=True, kw_only=True)
class OneCycleAdamW:
    """AdamW (Loshchilov & Hutter 2019) under one cycle: a linear warm-up to `peak`, then half a cosine down to zero.

    `steps` is the length of the whole training, `warm_up` its part that warms up. Betas 0.9 and 0.99.
    """

    peak: float
    steps: int
    warm_up: float
    weight_decay: float
    slots = ("momentum", "velocity")

    def rate(self, step: Tensor) -> Tensor:
        """Give the learning rate of a step, from a 25th of the peak over the peak to nothing."""
        done = tf.cast(step, tf.float32) / self.steps
        rising = self.peak * (0.04 + 0.96 * done / self.warm_up)
        falling = self.peak * 0.5 * (1 + tf.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))
        return tf.where(done < self.warm_up, rising, falling)

    def update(self, state: State, gradient: Tensor, decayed: Tensor, step: Tensor) -> State:
        """Let the decayed weights decay, then follow the momentum, scaled by the size of recent gradients."""
        count = tf.cast(step + 1, tf.float32)
        rate = self.rate(step)
        momentum = state["momentum"] + (1 - 0.9) * (gradient - state["momentum"])
        velocity = state["velocity"] + (1 - 0.99) * (tf.square(gradient) - state["velocity"])
        unbiased = rate * tf.sqrt(1 - 0.99**count) / (1 - 0.9**count)
        kept = state["weights"] * (1 - rate * self.weight_decay * decayed)
        weights = kept - unbiased * momentum / (tf.sqrt(velocity) + 1e-7)
        return {"weights": weights, "momentum": momentum, "velocity": velocity}
