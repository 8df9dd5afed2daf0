"""Random distortion of digits, a whole batch at once inside the graph."""

import math
from typing import Any

import tensorflow as tf

Tensor = Any

ROTATION = math.radians(10)
SCALE = 0.10
SHEAR = 0.10
SHIFT = 1.5  # pixels; MNIST centres by mass, so there is little more to learn
TILT = 0.006  # per pixel: one side of the digit becomes up to 1.2 times as large as the other
CENTRE = 13.5  # of 28 pixels


def distort(images: Tensor, seed: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate, scale, shear, shift and tilt each image on its own, as a hand and a page do.

    `images` float [n, 28, 28, 1], `seed` two int64: the same seed gives the same distortion. Bilinear, paper outside.
    """
    values = tf.random.stateless_uniform([8, tf.shape(images)[0]], seed, -1.0, 1.0)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_projections(values),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _projections(values: Tensor) -> Tensor:
    """Give the eight numbers of a projection of each image, float [n, 8], from eight between -1 and 1.

    An output pixel (x, y) shows the input at ((a x + b y + c) / k, (d x + e y + f) / k), k = p x + q y + 1.
    """
    angle, shear = values[0] * ROTATION, values[1] * SHEAR
    width, height = 1.0 + values[2] * SCALE, 1.0 + values[3] * SCALE
    right, down = CENTRE + values[4] * SHIFT, CENTRE + values[5] * SHIFT
    p, q = values[6] * TILT, values[7] * TILT
    # The output is scaled, sheared and rotated: a matrix about the centre of the image, which moves to (right, down)
    a, b = tf.cos(angle) * width, (tf.cos(angle) * shear - tf.sin(angle)) * height
    d, e = tf.sin(angle) * width, (tf.sin(angle) * shear + tf.cos(angle)) * height
    k = 1.0 - CENTRE * (p + q)  # of the corner (0, 0), which TensorFlow counts from, and wants to be 1
    top = [a + right * p, b + right * q, right * k - CENTRE * (a + b)]
    middle = [d + down * p, e + down * q, down * k - CENTRE * (d + e)]
    return tf.stack([*top, *middle, p, q], axis=1) / k[:, None]
