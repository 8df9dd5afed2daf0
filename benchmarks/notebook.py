"""The notebook's way to train: Keras' own layers, arrays given to `fit`, its callbacks."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from training import data, workers
from training.architectures import ARCHITECTURES
from training.job import Progress
from training.layers import Conv2D, Inception, LocalResponseNormalization


class PlainNormalization(LocalResponseNormalization):
    """TensorFlow's own operation."""

    def call(self, inputs: Any) -> Any:
        """Normalize over the last axis."""
        return tf.nn.local_response_normalization(inputs, self.depth_radius, self.bias, self.alpha, beta=0.75)


class PlainInception(Inception):
    """Four branches of Keras' own convolutions."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.branches = [[plain(layer) for layer in branch] for branch in self.branches]

    def call(self, inputs: Any) -> Any:
        """Run the branches side by side."""
        outputs = []
        for branch in self.branches:
            output = inputs
            for layer in branch:
                output = layer(output)
            outputs.append(output)
        return self.concatenate(outputs)


PLAIN = {
    Conv2D: keras.layers.Conv2D,
    LocalResponseNormalization: PlainNormalization,
    Inception: PlainInception,
}


def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Give the layer that the notebook has in the place of ours."""
    return PLAIN.get(type(layer), type(layer)).from_config(layer.get_config())


def fit(letter: str, epochs: int, folder: Path, report: workers.Reporter) -> None:
    """Train, telling `report` when it begins to build the model and after each epoch, as ours does."""

    def tell(epoch: int) -> None:
        report(Progress(letter, epoch, epochs))

    mnist = data.load()
    tell(0)
    model = keras.models.clone_model(ARCHITECTURES[letter].build(), clone_function=plain)
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        mnist.x_train[..., None],
        mnist.y_train,
        validation_data=(mnist.x_val[..., None], mnist.y_val),
        epochs=epochs,
        callbacks=[
            keras.callbacks.TensorBoard(folder),
            keras.callbacks.EarlyStopping(patience=10),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: tell(epoch + 1)),
        ],
        verbose=0,
    )
