"""Some of MNIST's digits are redrawn, as other pens and fewer pixels show them, and stay in MNIST's form."""

import numpy as np
import pytest
from PIL import Image

from client.mnist import as_mnist
from client.strokes import stroke_width
from training.pens import redraw, with_other_pens


@pytest.fixture(scope="module")
def images(mnist_test):
    return mnist_test[0][:400]


@pytest.fixture(scope="module")
def redrawn(images):
    return with_other_pens(images, 1.0, seed=1)


def widths(images):
    return np.array([stroke_width(image > 127) for image in images])


def test_a_share_of_the_images_is_redrawn(images):
    changed = (with_other_pens(images, 0.3, seed=1) != images).any(axis=(1, 2))
    assert 0.25 < changed.mean() <= 0.3


def test_the_same_seed_redraws_the_same(images):
    first, again, other = (with_other_pens(images, 0.3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_without_a_share_nothing_is_redrawn(images):
    np.testing.assert_array_equal(with_other_pens(images, 0.0, seed=1), images)


def test_what_is_redrawn_is_in_the_form_of_mnist(redrawn):
    assert redrawn.dtype == np.uint8
    assert all(as_mnist(Image.fromarray(image)) is not None for image in redrawn)


def test_pens_differ_more_than_those_of_mnist(images, redrawn):
    before, after = widths(images), widths(redrawn)
    assert np.percentile(after, 90) > np.percentile(before, 90) + 0.5
    assert np.mean(after < before - 0.2) > 0.05


def test_a_thin_stroke_becomes_no_thinner():
    hair = np.zeros((28, 28), np.uint8)
    hair[4:24, 14] = 255
    seeds = (np.random.default_rng(seed) for seed in range(40))
    assert min(stroke_width(redraw(hair, random) > 127) for random in seeds) >= 1


def test_a_digit_of_few_pixels_is_soft(images, redrawn):
    def grey(image):
        return np.mean((image > 64) & (image < 192)) / np.mean(image > 64)

    before, after = (np.array([grey(image) for image in some]) for some in (images, redrawn))
    assert np.percentile(after, 80) > np.percentile(before, 80) + 0.05
