"""How a model is fitted: `notebook` is the author's way, `tuned` (the default) is ours."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import tensorflow as tf

from training.architectures import Architecture
from training.optimizers import Muon, RMSprop

Tensor = Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The resolved settings of one training; saved as config.json beside its weights.

    RMSprop keeps its `learning_rate`; Muon has a schedule with it as the peak, and `weight_decay`. `patience` is in
    epochs without a better validation loss; None trains to the end. `scale` brings pixels from 0..255 to 0..1, inside
    the model, and `distort` turns on augmentation. `upstrokes` is the share of the ones that get one, where it fits
    (training/upstroke.py), `pens` of all images that are redrawn (training/pens.py). Dropout rests in all but the first
    `dropout_share` of the epochs: in small models it helps early and harms late (Liu et al. 2023, arXiv 2303.01500).
    With `shifts` the trained model answers with its mean over some (training/shifts.py).
    """

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["rmsprop", "muon"] = "rmsprop"
    patience: int | None = None
    scale: bool = False
    distort: bool = False
    upstrokes: float = 0.0
    pens: float = 0.0
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    warm_up: float = 0.0
    weight_average: float | None = None
    dropout_share: float = 1.0
    shifts: bool = False
    precision: str = "float32"

    @property
    def loss_scale(self) -> float:
        """Give what the loss is multiplied with, so that small gradients do not vanish in float16."""
        return 1024.0 if self.precision == "float16" else 1.0

    @property
    def dropout_epochs(self) -> int:
        """Give how many epochs train as Keras' `training=True` says; in the others dropout rests."""
        return max(1, round(self.dropout_share * self.epochs))

    def new_optimizer(self, steps_per_epoch: int) -> RMSprop | Muon:
        """Make the optimizer for a training of `epochs` epochs."""
        if self.optimizer == "rmsprop":
            return RMSprop(self.learning_rate)
        return Muon(
            peak=self.learning_rate,
            steps=self.epochs * steps_per_epoch,
            warm_up=self.warm_up,
            weight_decay=self.weight_decay,
        )

    def average_share(self, steps_per_epoch: int) -> float:
        """Give the share of the newest weights in the moving average; short runs average over fewer steps."""
        steps = self.epochs * steps_per_epoch
        return max(1 - (self.weight_average or 0), 14 / max(steps, 28))

    def loss(self, labels: Tensor, probabilities: Tensor) -> Tensor:
        """Compute the mean cross-entropy of int32 [n] and float32 [n, 10], the labels smoothed."""
        target = tf.one_hot(labels, 10)
        loss = keras.losses.categorical_crossentropy(target, probabilities, label_smoothing=self.label_smoothing)
        return tf.reduce_mean(loss)


NOTEBOOK = Recipe(name="notebook", epochs=100, batch_size=32, learning_rate=1e-3, patience=10)
"""Faithful: raw 0..255 inputs, Keras' default RMSprop, early stopping on the validation loss."""

TUNED = Recipe(
    name="tuned",
    epochs=11,
    batch_size=128,
    learning_rate=4e-3,
    optimizer="muon",
    scale=True,
    distort=True,
    label_smoothing=0.05,
    weight_decay=0.1,
    warm_up=0.2,
    weight_average=0.998,
)
"""Ours: Muon under one cycle, distorted images, label smoothing and an exponential moving average of weights."""

RECIPES = {"notebook": NOTEBOOK, "tuned": TUNED}

_TUNED_FOR: dict[str, dict[str, Any]] = {
    "B": {"dropout_share": 0.15},
    "D": {"epochs": 24, "weight_decay": 0.2},
    "E": {"epochs": 10},
    "F": {"epochs": 8},
    # Batch normalization keeps statistics of the newest weights, not of an average
    "G": {"epochs": 28, "weight_average": None, "weight_decay": 0.2, "shifts": True},
    "H": {"epochs": 12, "weight_average": None},
}
"""What differs from model to model; docs/accuracy.md has what was tried."""

_HANDS: dict[str, dict[str, Any]] = {"H": {"upstrokes": 0.2, "pens": 0.3}}
"""A to G see MNIST alone; H, by any recipe, is to read people's digits, too."""


def recipe_for(name: str, letter: str, epochs: int | None = None, precision: str = "float32") -> Recipe:
    """Resolve a recipe for one architecture."""
    recipe = RECIPES[name]
    if name == "tuned":
        recipe = replace(recipe, **_TUNED_FOR.get(letter, {}))
    return replace(recipe, epochs=epochs or recipe.epochs, precision=precision, **_HANDS.get(letter, {}))


def build(architecture: Architecture, recipe: Recipe) -> keras.Model:
    """Make a model as a recipe wants it: `tuned` scales pixels inside, and layers compute in its precision."""
    before = [keras.layers.Rescaling(1 / 255)] if recipe.scale else []
    policy = recipe.precision if recipe.precision == "float32" else f"mixed_{recipe.precision}"
    keras.config.set_dtype_policy(policy)
    try:
        return architecture.build(before)
    finally:
        keras.config.set_dtype_policy("float32")
