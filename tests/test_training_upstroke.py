"""Some of MNIST's ones get the upstroke with which much of the world writes them, and nothing else changes."""

import math

import numpy as np
import pytest
from PIL import Image

from training.upstroke import add_upstroke, find_stem, with_upstrokes


def one(lean_degrees: float) -> np.ndarray:
    """A 1 of one stroke of 20 × 3 pixels, its top leaning to the right."""
    upright = np.zeros((28, 28), np.uint8)
    upright[4:24, 13:16] = 255
    return np.array(Image.fromarray(upright).rotate(-lean_degrees, Image.Resampling.BICUBIC))


def with_upstroke(image, seed):
    return add_upstroke(image, np.random.default_rng(seed))


def shift_of(image, before):
    """How many pixels down and to the right bring the changed image back over the one before."""
    shifts = [(down, across) for down in range(-4, 5) for across in range(-4, 5)]
    return max(shifts, key=lambda shift: np.sum(np.minimum(np.roll(image, shift, (0, 1)), before), dtype=int))


def test_a_share_of_the_ones_is_changed_and_no_other_digit(mnist_test):
    images, labels = mnist_test
    changed = (with_upstrokes(images, labels, 0.2, seed=1) != images).any(axis=(1, 2))
    assert set(labels[changed]) == {1}
    ones = np.count_nonzero(labels == 1)
    assert 0.7 * 0.2 * ones < np.count_nonzero(changed) <= 0.2 * ones


def test_the_same_seed_makes_the_same_upstrokes(mnist_test):
    images, labels = (array[:1000] for array in mnist_test)
    first, again, other = (with_upstrokes(images, labels, 0.5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_without_a_share_nothing_is_changed(mnist_test):
    np.testing.assert_array_equal(with_upstrokes(*mnist_test, 0.0, seed=1), mnist_test[0])


@pytest.mark.parametrize("lean", [-20, 0, 20])
@pytest.mark.parametrize("seed", range(10))
def test_an_upstroke_goes_to_the_left_from_the_top_and_the_digit_stays_centred(lean, seed):
    image = with_upstroke(one(lean), seed)
    added = np.roll(image, shift_of(image, one(lean)), (0, 1)).astype(int) - one(lean)
    assert added.min() == 0  # not a pixel of the stem is resampled
    y, x = np.nonzero(added > 127)
    stem = find_stem(one(lean))
    assert x.mean() < stem.top[0] and y.mean() < stem.top[1] + stem.length / 2
    middle = [(line @ np.arange(28)) / line.sum() for line in (image.sum(1), image.sum(0))]
    assert middle == pytest.approx([13.5, 13.5], abs=0.6)


def test_a_long_upstroke_is_steeper_than_the_bar_of_a_7_and_a_short_one_may_be_as_flat():
    slopes = {True: [], False: []}
    for seed in range(300):
        image = with_upstroke(one(0), seed)
        y, x = np.nonzero(np.roll(image, shift_of(image, one(0)), (0, 1)) > 127)
        height = y[x == x.min()].mean() - y.min()
        slopes[bool(13 - x.min() > 10)].append(height / (13 - x.min()))
    assert min(slopes[True]) > math.tan(math.radians(30)) > min(slopes[False])


def test_a_one_that_leans_so_far_that_an_upstroke_would_make_it_a_7_stays_as_it_is():
    np.testing.assert_array_equal(with_upstroke(one(50), 1), one(50))


def test_a_one_with_a_foot_stays_as_it_is():
    image = one(0)
    image[22:24, 7:22] = 255
    np.testing.assert_array_equal(with_upstroke(image, 1), image)


def test_the_stem_of_a_one_is_measured():
    stem = find_stem(one(30))
    assert math.degrees(math.atan2(-stem.down[0], stem.down[1])) == pytest.approx(30, abs=2)
    assert (stem.length, stem.width) == (pytest.approx(20, abs=1.5), pytest.approx(3, abs=0.6))
    right, up = 8.5 * math.sin(math.radians(30)), 8.5 * math.cos(math.radians(30))
    assert stem.top == pytest.approx([14 + right, 13.5 - up], abs=1)
