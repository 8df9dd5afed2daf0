"""How a model is fitted: `notebook` is the author's way, `tuned` (the default) is ours."""

from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from training.architectures import Architecture
from training.augment import random_affine
from training.data import Array

Dataset = Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The resolved settings of one training; saved as config.json beside its weights.

    `learning_rate` is the peak where there is a schedule. `patience` is in epochs without a better validation loss;
    None trains to the end. `distort` turns on augmentation, and with it our optimizer, schedule and averaging.
    """

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None = None
    distort: bool = False
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    weight_average: float | None = None


NOTEBOOK = Recipe(name="notebook", epochs=100, batch_size=32, learning_rate=1e-3, patience=10)
"""Faithful: raw 0..255 inputs, Keras' default RMSprop, early stopping on the validation loss."""

TUNED = Recipe(
    name="tuned",
    epochs=15,
    batch_size=128,
    learning_rate=4e-3,
    distort=True,
    label_smoothing=0.05,
    weight_decay=1e-4,
    weight_average=0.998,
)
"""Ours: one-cycle AdamW, random affine distortion, label smoothing and an exponential moving average of weights."""

RECIPES = {"notebook": NOTEBOOK, "tuned": TUNED}


def recipe_for(name: str, letter: str, epochs: int | None = None) -> Recipe:
    """Resolve a recipe for one architecture; the small nets of `tuned` want smaller batches or a higher peak."""
    recipe = RECIPES[name]
    if name == "tuned" and letter in "ABC":
        batch_size, learning_rate = {"A": (64, 4e-3), "B": (128, 6e-3), "C": (64, 6e-3)}[letter]
        recipe = replace(recipe, batch_size=batch_size, learning_rate=learning_rate)
    return replace(recipe, epochs=epochs or recipe.epochs)


def build(architecture: Architecture, recipe: Recipe, images: int) -> keras.Model:
    """Make and compile a model for a number of training images."""
    before = [keras.layers.Rescaling(1 / 255)] if recipe.distort else []
    model = architecture.build(before)
    steps = steps_per_epoch(recipe, images)
    model.compile(
        optimizer=_tuned_optimizer(recipe, steps) if recipe.distort else keras.optimizers.RMSprop(),
        loss="categorical_crossentropy" if recipe.label_smoothing else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=_steps_per_execution(steps),
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,  # XLA on CPU: A 4.6× slower
    )
    return model


STEPS_PER_EXECUTION = 50
"""Steps inside one tf.function call; Keras' one leaves the core idle a third of the time, 625 gains nothing more."""


def _steps_per_execution(steps: int) -> int:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return min(STEPS_PER_EXECUTION, steps) if replicas == 1 else 1  # Keras 3.15 fails otherwise: no fed placeholder


def steps_per_epoch(recipe: Recipe, images: int) -> int:
    """Count the whole batches of an epoch; the few images left over differ from epoch to epoch."""
    return images // min(recipe.batch_size, images)


def _tuned_optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    total = recipe.epochs * steps
    warm_up = max(1, total // 5)
    peak = recipe.learning_rate
    one_cycle = keras.optimizers.schedules.CosineDecay(
        peak / 25, decay_steps=total - warm_up, warmup_target=peak, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(
        one_cycle,
        weight_decay=recipe.weight_decay,
        beta_2=0.99,
        use_ema=True,
        ema_momentum=min(recipe.weight_average or 0, 1 - 14 / max(total, 28)),  # short runs average over fewer steps
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def training_batches(x: Array, y: Array, recipe: Recipe, seed: int) -> Dataset:
    """Give batches (float [n, 28, 28, 1] in 0..255, labels), reshuffled every epoch; the same seed, the same batches.

    The arrays stay uint8 in memory (47 MB) and one thread gathers, casts and distorts: given NumPy arrays, Keras'
    `fit` copies batches in Python and leaves the core idle 40 % of each epoch.
    """
    images, labels = tf.constant(x), tf.constant(y, tf.int32)

    def batch(index: Any, noise: Any) -> tuple[Any, Any]:
        image = tf.cast(tf.gather(images, index), tf.float32)[..., None]
        label = tf.gather(labels, index)
        if recipe.distort:
            image = random_affine(image, noise)
        if recipe.label_smoothing:
            label = tf.one_hot(label, 10) * (1 - recipe.label_smoothing) + recipe.label_smoothing / 10
        return image, label

    order = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed)
    noise = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    batches = order.batch(min(recipe.batch_size, len(x)), drop_remainder=True)
    return tf.data.Dataset.zip(batches, noise).map(batch).with_options(_one_thread())


def evaluation_batches(x: Array, y: Array, recipe: Recipe) -> Dataset:
    """Give batches of 500 in order, undistorted, with labels in the form of the recipe's loss (not smoothed)."""

    def batch(image: Any, label: Any) -> tuple[Any, Any]:
        label = tf.cast(label, tf.int32)
        return tf.cast(image, tf.float32)[..., None], tf.one_hot(label, 10) if recipe.label_smoothing else label

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(500).map(batch).with_options(_one_thread())


def _one_thread() -> tf.data.Options:
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    return options
