"""The training loop: Keras' model and callbacks around many steps in one call, on one flat vector of weights.

Keras' own `fit` on arrays leaves the core idle 40 % of each epoch, and its optimizers start many small operations.
Here a call runs fifty steps, and a step updates all weights by one formula. The whole state is a few tensors, so that
saving it saves everything: resumed from any epoch, a training ends with the same weights, bit for bit on one thread.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.augment import distort
from training.data import Array
from training.recipes import Recipe
from training.weights import Layout

Tensor = Any
State = dict[str, Tensor]
"""`weights`, `average` and the optimizer's slots: float32 [parameters]. `buffer_<n>`: what else the model keeps, such
as the statistics of batch normalization and the seeds of dropout."""

STEPS_PER_CALL = 50
"""Steps in one tf.function call; one leaves the core idle a third of the time, 625 gains nothing more."""


class Loop:
    """Fits `model` to images uint8 [n, 28, 28] and labels uint8 [n], on all devices of `strategy`.

    The order of the images and their distortion depend on the seed, the epoch and the step alone.
    """

    def __init__(
        self, model: keras.Model, recipe: Recipe, images: Array, labels: Array, seed: int, strategy: Any = None
    ) -> None:
        self.model, self.recipe, self.seed = model, recipe, seed
        self.strategy = strategy or tf.distribute.get_strategy()
        self.batch_size = min(recipe.batch_size, len(images))
        self.steps_per_epoch = len(images) // self.batch_size  # the few images left over differ from epoch to epoch
        self._count = len(images)
        self.optimizer = recipe.new_optimizer(self.steps_per_epoch)
        everywhere = self.strategy.experimental_distribute_values_from_function  # a copy on every device
        self._images = everywhere(lambda _: tf.constant(images))
        self._labels = everywhere(lambda _: tf.constant(labels, tf.int32))
        self._layout = Layout.of(model.trainable_variables)
        self._calls = {True: self._trace(True)}

    def _trace(self, dropout: bool) -> Any:
        signature = tf.TensorSpec([None, self.batch_size], tf.int32), tf.TensorSpec([], tf.int64)
        return tf.function(partial(self._run, dropout)).get_concrete_function(self.start(), *signature)

    def start(self) -> State:
        """Give the state of the model as it is, before the first step."""
        flat = self._layout.flatten(self.model.trainable_variables)
        buffers = enumerate(self.model.non_trainable_variables)
        state = {"weights": flat, **{f"buffer_{n}": tf.convert_to_tensor(value) for n, value in buffers}}
        state.update({name: tf.zeros_like(flat) for name in self.optimizer.slots})
        return {**state, "average": flat} if self.recipe.weight_average else state

    def epoch(self, state: State, number: int, report: Callable[[int], None]) -> tuple[State, float, float]:
        """Run all steps of an epoch, counted from 0; give the new state, and the mean loss and accuracy meanwhile."""
        order = np.random.default_rng((self.seed, number)).permutation(self._count)
        order = order[: self.steps_per_epoch * self.batch_size].reshape(-1, self.batch_size).astype(np.int32)
        dropout = number < self.recipe.dropout_epochs
        call = self._calls[dropout] = self._calls.get(dropout) or self._trace(dropout)
        totals = np.zeros(2)
        for first in range(0, self.steps_per_epoch, STEPS_PER_CALL):
            steps = order[first : first + STEPS_PER_CALL]
            with self.strategy.scope():
                state, seen = call(state, tf.constant(steps), number * self.steps_per_epoch + first)
            totals += seen.numpy()
            report(first + len(steps))
        loss, accuracy = totals / self.steps_per_epoch
        return state, float(loss), float(accuracy)

    def rate(self, epoch: int) -> float:
        """Give the learning rate at the end of an epoch."""
        return float(self.optimizer.rate(tf.constant((epoch + 1) * self.steps_per_epoch, tf.int64)))

    def show(self, state: State) -> None:
        """Put a state into the model: the averaged weights, where there are any, and the buffers."""
        weights = state["average"] if self.recipe.weight_average else state["weights"]
        for variable, value in zip(self.model.trainable_variables, self._layout.unflatten(weights), strict=True):
            variable.assign(value)
        for n, variable in enumerate(self.model.non_trainable_variables):
            variable.assign(state[f"buffer_{n}"])

    def _run(self, dropout: bool, state: State, order: Tensor, start: Tensor) -> tuple[State, Tensor]:
        """Take a step for each row of `order`, int32 [steps, batch], of images' numbers."""
        totals = tf.zeros(2)
        for step in tf.range(tf.shape(order)[0]):
            state, seen = self._step(dropout, state, order[step], start + tf.cast(step, tf.int64))
            totals += seen
        return state, totals

    def _step(self, dropout: bool, state: State, index: Tensor, step: Tensor) -> tuple[State, Tensor]:
        buffers = [state[f"buffer_{n}"] for n in range(len(self.model.non_trainable_variables))]
        gradient, buffers, seen = self.strategy.run(
            partial(self._gradient, dropout), (state["weights"], buffers, self._images, self._labels, index, step)
        )
        gradient, seen = (self.strategy.reduce("mean", value, axis=None) for value in (gradient, seen))
        new = self.optimizer.update(state, gradient, self._layout, step)
        new.update({f"buffer_{n}": self._one(value) for n, value in enumerate(buffers)})
        if self.recipe.weight_average:
            share = self.recipe.average_share(self.steps_per_epoch)
            new["average"] = state["average"] + share * (new["weights"] - state["average"])
        return {name: new[name] for name in state}, seen

    def _one(self, buffer: Tensor) -> Tensor:
        """Make one of the devices' buffers: the mean of statistics, the first of seeds."""
        first, *_ = self.strategy.experimental_local_results(buffer)
        return self.strategy.reduce("mean", buffer, axis=None) if first.dtype.is_floating else first

    def _gradient(
        self,
        dropout: bool,
        weights: Tensor,
        buffers: list[Tensor],
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        step: Tensor,
    ) -> tuple[Any, ...]:
        """Compute the gradient of this device's share of a batch, the new buffers, and loss and accuracy."""
        images, labels = self._share(images, labels, index, step)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            answers, buffers = self.model.stateless_call(
                self._layout.unflatten(weights), buffers, images, training=dropout
            )
            loss = self.recipe.loss(labels, answers)
            scaled = loss * self.recipe.loss_scale
        gradient = tape.gradient(scaled, weights) / self.recipe.loss_scale
        right = tf.cast(tf.argmax(answers, 1, tf.int32) == labels, tf.float32)
        return gradient, buffers, tf.stack([loss, tf.reduce_mean(right)])

    def _share(self, images: Tensor, labels: Tensor, index: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Give this device's images of a batch, float [n, 28, 28, 1] and distorted if so wanted, and their labels."""
        context = tf.distribute.get_replica_context()
        device = tf.cast(context.replica_id_in_sync_group, tf.int64)
        mine = index[device :: context.num_replicas_in_sync]
        batch = tf.cast(tf.gather(images, mine), tf.float32)[..., None]
        if self.recipe.distort:
            batch = distort(batch, (self.seed + 2**32 * device, step))
        return batch, tf.gather(labels, mine)
