"""What a model answers on whole splits of MNIST, and how good that is."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from client.contract import CLASSES, IMAGE_SIZE
from training.augment import distort
from training.data import Array, Mnist
from training.results import HALF
from training.upstroke import with_upstrokes

BATCH = 500
DISTORTIONS = 10
"""Of each validation image: 50,000 answers, of which a good model gives 300 wrongly."""
UPSTROKES = 0.2
"""Of the ones among them, as people's are not all American."""
HARDEST = 30
"""How many mistakes are kept to be looked at."""
Probabilities = NDArray[np.float32]


def answer(model: keras.Model, images: Any) -> Any:
    """Compute float32 [n, 10] of images uint8 [n, 28, 28], in a graph or at once."""
    return tf.cast(model(tf.cast(images, tf.float32)[..., None], training=False), tf.float32)


class Evaluator:
    """Runs a model on images in batches; traced once, so that every epoch can ask it."""

    def __init__(self, model: keras.Model) -> None:
        self._call = tf.function(
            lambda images: answer(model, images),
            input_signature=[tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE], tf.uint8)],
        )

    def probabilities(self, images: Array) -> Probabilities:
        """Answer images uint8 [n, 28, 28] with float32 [n, 10]."""
        parts = [self._call(images[start : start + BATCH]).numpy() for start in range(0, len(images), BATCH)]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Evaluation:
    """`figures`: loss and accuracy of test, validation (`val_`) and training images (`train_`), and the accuracy on
    distorted validation images (`distorted_accuracy`). `details`: of the test half, the confusion matrix (a row for
    each digit, a column for each answer) and the mistakes of which the model was surest, for people to look at; `index`
    counts the 10,000 images."""

    figures: dict[str, Any]
    details: dict[str, Any]


def evaluate(model: keras.Model, mnist: Mnist) -> Evaluation:
    """Ask a model about all three splits, and about the validation images as hands and pages distort them."""
    evaluator = Evaluator(model)
    figures: dict[str, float] = {}
    for prefix, images, labels in (("train_", mnist.x_train, mnist.y_train), ("val_", mnist.x_val, mnist.y_val)):
        figures[f"{prefix}loss"], figures[f"{prefix}accuracy"] = score(evaluator.probabilities(images), labels)
    figures["distorted_accuracy"] = _distorted_accuracy(evaluator, mnist)
    answers = evaluator.probabilities(mnist.x_test)
    figures["loss"], figures["accuracy"] = score(answers, mnist.y_test)
    details = {"confusion": _confusion(answers, mnist.y_test), "mistakes": _mistakes(answers, mnist.y_test)}
    return Evaluation(figures, details)


def _distorted_accuracy(evaluator: Evaluator, mnist: Mnist) -> float:
    copies = (distorted(mnist.x_val, mnist.y_val, seed) for seed in range(DISTORTIONS))
    return float(np.mean([score(evaluator.probabilities(copy), mnist.y_val)[1] for copy in copies]))


def distorted(images: Array, labels: Array, seed: int) -> Array:
    """Give a copy of images, uint8 [n, 28, 28], as other people would write and photograph them."""
    written = with_upstrokes(images, labels, UPSTROKES, seed)[..., None].astype(np.float32)
    return np.asarray(np.rint(distort(written, (DISTORTIONS, seed)))[..., 0], np.uint8)


def score(probabilities: Probabilities, labels: Array) -> tuple[float, float]:
    """Give the cross-entropy, as Keras computes it, and the accuracy."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    loss = -np.log(chosen.clip(1e-7, 1 - 1e-7)).mean()
    return float(loss), float((probabilities.argmax(1) == labels).mean())


def _confusion(probabilities: Probabilities, labels: Array) -> list[list[int]]:
    counts = np.bincount(labels.astype(int) * CLASSES + probabilities.argmax(1), minlength=CLASSES**2)
    return counts.reshape(CLASSES, CLASSES).tolist()


def _mistakes(probabilities: Probabilities, labels: Array) -> list[dict[str, Any]]:
    answers = probabilities.argmax(1)
    wrong = np.flatnonzero(answers != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:HARDEST]
    return [
        {
            "index": int(index) + HALF,
            "digit": int(labels[index]),
            "answer": int(answers[index]),
            "probability": round(float(probabilities[index].max()), 4),
        }
        for index in surest
    ]
