"""The six architectures of the exercise, and our own: float [n, 28, 28, 1] → the probabilities of ten digits.

Layers are design facts of exercise 14.9 as one author solved it (models A–E) and of his later notebook (E, F). Every
convolution has ReLU. `keras.Model`s are named by their letter; the scaling of pixels belongs to the recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from client.contract import CLASSES, IMAGE_SIZE
from training.layers import BatchNormalization, Conv2D, Inception, LocalResponseNormalization

Layers = list[Any]


@dataclass(frozen=True)
class Architecture:
    """One row of the exercise: what it is, and what the author published for it.

    `published` is (loss, accuracy) of his later run, on the last 5,000 test images; the docstrings of the layers have
    the accuracies of his write-up too.
    """

    letter: str
    description: str
    layers: Callable[[], Layers]
    published: tuple[float, float] | None = None

    def build(self, before: Layers | None = None) -> keras.Model:
        """Make a fresh model; `before` are layers between the input and the first convolution."""
        image = keras.layers.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
        output = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")
        return keras.Sequential([image, *(before or []), *self.layers(), output], name=self.letter)


def _conv(filters: int, kernel_size: int, *, strides: int = 1, padding: str = "same") -> keras.layers.Layer:
    return Conv2D(filters, kernel_size, strides=strides, padding=padding, activation="relu")


def _normalized(filters: int, kernel_size: int, *, strides: int = 1, padding: str = "same") -> Layers:
    convolution = Conv2D(filters, kernel_size, strides=strides, padding=padding, use_bias=False)
    return [convolution, BatchNormalization(momentum=0.9), keras.layers.ReLU()]


def _average(pool_size: int) -> keras.layers.Layer:
    return keras.layers.AveragePooling2D(pool_size, strides=2)


def _head(*dropout: float) -> Layers:
    """Reduce what is left of the image to 32 numbers, with dropout after each convolution if asked."""
    convolutions = [_conv(128, 3, padding="valid"), _conv(32, 1, padding="valid")]
    drops = [keras.layers.Dropout(rate) for rate in dropout]
    mixed = [layer for pair in zip(convolutions, drops, strict=True) for layer in pair] if drops else convolutions
    return [*mixed, keras.layers.Flatten()]


def a() -> Layers:
    """Model A, similar to LeNet: 83,850 parameters; published .9882, later .9898. `digits train A`."""
    return [_conv(8, 5, strides=2), _average(2), _conv(16, 3), _average(3), _conv(64, 2), *_head()]


def b() -> Layers:
    """Model B, A with dropout at the final layers: 83,850 parameters; published .9776, later .9782. `digits train B`.

    Dropout before the softmax costs this small a net accuracy under the notebook's recipe: B is the exercise's worst.
    """
    return [_conv(8, 5, strides=2), _average(2), _conv(16, 3), _average(3), _conv(64, 2), *_head(0.45, 0.45)]


def c() -> Layers:
    """Model C, A with local response normalization: 83,850 parameters; published .9872, .9876. `digits train C`."""
    lrn = LocalResponseNormalization
    return [_conv(8, 5, strides=2), _average(2), lrn(), _conv(16, 3), _average(3), lrn(), _conv(64, 2), *_head()]


def d() -> Layers:
    """Model D, more layers in the LeNet: 120,330 parameters; published .9902, later .9914. `digits train D`."""
    lrn = LocalResponseNormalization
    first = [_conv(8, 5, strides=2), _conv(16, 5), _average(2), lrn()]
    second = [_conv(32, 3), _conv(32, 3), _average(3), lrn()]
    return [*first, *second, _conv(64, 2), _conv(64, 2), *_head()]


def e() -> Layers:
    """Model E, with two inception layers: 126,492 parameters; later run .9894. `digits train E`.

    The exercise's write-up breaks off here; the layers are from the author's later notebook.
    """
    lrn = LocalResponseNormalization
    inceptions = [Inception(8, 16, 4, 4, 12, 2), Inception(16, 32, 8, 8, 24, 4)]
    first = [_conv(8, 5, strides=2), _conv(16, 5), _average(2), lrn()]
    return [*first, *inceptions, _average(3), lrn(), _conv(64, 2), _conv(64, 2), *_head()]


def f() -> Layers:
    """Model F, four inception layers: 243,268 parameters; later run .9932. `digits train F`."""
    first = [_conv(8, 5, strides=2), _conv(16, 5), _average(2), LocalResponseNormalization()]
    shallow = [Inception(8, 16, 4, 4, 12, 2), Inception(16, 32, 8, 8, 24, 4)]
    deep = [Inception(32, 64, 16, 16, 48, 8), Inception(64, 128, 32, 32, 96, 16)]
    head = [_conv(128, 1, padding="valid"), _conv(32, 1, padding="valid"), keras.layers.Flatten()]
    return [*first, *shallow, keras.layers.MaxPooling2D(3, strides=2), *deep, *head]


def g() -> Layers:
    """Model G, ours and small, batch normalization throughout: 121,146 parameters. `digits train G`.

    By `tuned` it answers with its mean over three shifts of the image (training/shifts.py), still in less time than H
    does once. Wider nets, and deeper ones in the same time, gave no more: docs/accuracy.md.
    """
    first = [*_normalized(16, 5, strides=2), *_normalized(24, 3), keras.layers.MaxPooling2D(2)]
    second = [*_normalized(48, 3), *_normalized(48, 3), keras.layers.MaxPooling2D(3, strides=2)]
    return [*first, *second, *_normalized(192, 3, padding="valid"), keras.layers.Flatten()]


def h() -> Layers:
    """Model H, ours and deep: three convolutions on every pixel and four on every second. `digits train H`.

    268,026 parameters, and five times G's multiplications (11.9 and 2.4 million). As in the nets of An et al. (2020,
    arXiv 2008.10400), which have no pooling at all, each convolution takes a pixel off all edges: three by three are
    left.
    """
    fine = [layer for filters in (16, 24, 32) for layer in _normalized(filters, 3, padding="valid")]
    coarse = [layer for filters in (64, 80, 96, 128) for layer in _normalized(filters, 3, padding="valid")]
    return [*fine, keras.layers.MaxPooling2D(2), *coarse, keras.layers.Flatten()]


ARCHITECTURES = {
    row.letter: row
    for row in (
        Architecture("A", "Similar to LeNet", a, (0.0416, 0.9898)),
        Architecture("B", "Similar to LeNet including dropout at the final layers", b, (0.0896, 0.9782)),
        Architecture("C", "Including local response normalization in the initial layers", c, (0.0374, 0.9876)),
        Architecture("D", "Including more layers in the LeNet architecture", d, (0.0319, 0.9914)),
        Architecture("E", "Including inception layers", e, (0.0382, 0.9894)),
        Architecture("F", "Making the inception layers even deeper", f, (0.0241, 0.9932)),
        Architecture("G", "Ours: 3×3 convolutions with batch normalization", g),
        Architecture("H", "Ours, deeper, and for people's hands: ones with upstrokes", h),
    )
}
