"""Random distortion of digits, a whole batch at once inside the graph.

Half a second an epoch on one core for the projection alone, 2.5 s with elastic distortion (AVX2).
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from client.contract import IMAGE_SIZE

Tensor = Any

ROTATION = math.radians(10)
SCALE = 0.10
SHEAR = 0.10
SHIFT = 1.5  # pixels; MNIST centres by mass, so there is little more to learn
TILT = 0.006  # per pixel: one side of the digit becomes up to 1.2 times as large as the other
CENTRE = 13.5  # of 28 pixels
KNOTS = 7  # a side: the independent pushes of an elastic distortion
REACH = 4.0  # pixels, the standard deviation of a push (Simard et al. 2003 smooth by as much)


def distort(images: Tensor, seed: tuple[Tensor, Tensor], elastic: float = 0.0) -> Tensor:
    """Rotate, scale, shear, shift and tilt each image on its own, as a hand and a page do, and bend it if asked.

    `images` float [n, 28, 28, 1], `seed` two int64: the same seed gives the same distortion. `elastic` is the standard
    deviation of the bending in pixels. Bilinear, paper outside.
    """
    values = tf.random.stateless_uniform([8, tf.shape(images)[0]], seed, -1.0, 1.0)
    projections = _projections(values)
    return _bend(images, projections, elastic, seed) if elastic else _project(images, projections)


def _projections(values: Tensor) -> Tensor:
    """Give the eight numbers of a projection of each image, float [n, 8], from eight between -1 and 1.

    An output pixel (x, y) shows the input at ((a x + b y + c) / k, (d x + e y + f) / k), k = p x + q y + 1.
    """
    angle, shear = values[0] * ROTATION, values[1] * SHEAR
    width, height = 1.0 + values[2] * SCALE, 1.0 + values[3] * SCALE
    right, down = CENTRE + values[4] * SHIFT, CENTRE + values[5] * SHIFT
    p, q = values[6] * TILT, values[7] * TILT
    # First shear, then scale, then rotate: a matrix about the centre of the image, which moves to (right, down)
    a, b = tf.cos(angle) * width, (tf.cos(angle) * shear - tf.sin(angle)) * height
    d, e = tf.sin(angle) * width, (tf.sin(angle) * shear + tf.cos(angle)) * height
    k = 1.0 - CENTRE * (p + q)  # of the corner (0, 0), which TensorFlow counts from, and wants to be 1
    top = [a + right * p, b + right * q, right * k - CENTRE * (a + b)]
    middle = [d + down * p, e + down * q, down * k - CENTRE * (d + e)]
    return tf.stack([*top, *middle, p, q], axis=1) / k[:, None]


def _project(images: Tensor, projections: Tensor) -> Tensor:
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=projections,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _bend(images: Tensor, projections: Tensor, elastic: float, seed: tuple[Tensor, Tensor]) -> Tensor:
    """Look each pixel up where the projection says, and a smooth random field beside it."""
    count = tf.shape(images)[0]
    rows, columns = np.divmod(np.arange(IMAGE_SIZE**2), IMAGE_SIZE)
    grid = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float32)
    x, y = tf.matmul(projections[:, :3], grid), tf.matmul(projections[:, 3:6], grid)
    k = tf.matmul(projections[:, 6:], grid[:2]) + 1.0
    pushes = tf.random.stateless_normal([2, count, KNOTS, KNOTS], (seed[0], ~seed[1]), stddev=elastic)
    field = tf.reshape(_SPREAD @ pushes @ _SPREAD.T, [2, count, -1])
    return _look_up(images, x / k + field[0], y / k + field[1])


def _spread() -> Any:
    """Make the matrix [28, 7] that spreads pushes over pixels, each row of length 1: a field as strong as they are."""
    distance = np.arange(IMAGE_SIZE)[:, None] - np.linspace(0, IMAGE_SIZE - 1, KNOTS)
    weights = np.exp(-0.5 * (distance / REACH) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


_SPREAD = _spread()


def _look_up(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Give the bilinear value of each image at its points, float [n, 784] in pixels."""
    count, side = tf.shape(images)[0], IMAGE_SIZE + 2
    paper = tf.pad(images[..., 0], [[0, 0], [1, 2], [1, 2]])
    # The four neighbours of a point lie side by side, so that one gather of 16 bytes fetches them
    corners = [paper[:, top : top + side, left : left + side] for top in (0, 1) for left in (0, 1)]
    x, y = (tf.clip_by_value(value + 1.0, 0.0, side - 0.5) for value in (x, y))
    left, top = tf.floor(x), tf.floor(y)
    index = tf.cast(top * side + left, tf.int32) + tf.range(count)[:, None] * side**2
    found = tf.gather(tf.reshape(tf.stack(corners, axis=-1), [-1, 4]), index)
    right, down = x - left, y - top
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    value = tf.reduce_sum(found * tf.stack(weights, axis=-1), axis=-1)
    return tf.reshape(value, [count, IMAGE_SIZE, IMAGE_SIZE, 1])
