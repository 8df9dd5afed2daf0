"""The architectures, layers and batches are those of the exercise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from training import recipes
from training.architectures import ARCHITECTURES
from training.augment import random_affine
from training.cli import Letter
from training.layers import Inception, LocalResponseNormalization
from training.results import LETTERS

LAYERS = {
    "A": "Conv2D AveragePooling2D Conv2D AveragePooling2D Conv2D Conv2D Conv2D Flatten Dense",
    "B": "Conv2D AveragePooling2D Conv2D AveragePooling2D Conv2D Conv2D Dropout Conv2D Dropout Flatten Dense",
    "C": "Conv2D AveragePooling2D LocalResponseNormalization Conv2D AveragePooling2D LocalResponseNormalization"
    " Conv2D Conv2D Conv2D Flatten Dense",
    "D": "Conv2D Conv2D AveragePooling2D LocalResponseNormalization Conv2D Conv2D AveragePooling2D"
    " LocalResponseNormalization Conv2D Conv2D Conv2D Conv2D Flatten Dense",
    "E": "Conv2D Conv2D AveragePooling2D LocalResponseNormalization Inception Inception AveragePooling2D"
    " LocalResponseNormalization Conv2D Conv2D Conv2D Conv2D Flatten Dense",
    "F": "Conv2D Conv2D AveragePooling2D LocalResponseNormalization Inception Inception MaxPooling2D Inception"
    " Inception Conv2D Conv2D Flatten Dense",
}
PARAMETERS = {"A": 83_850, "B": 83_850, "C": 83_850, "D": 120_330, "E": 126_492, "F": 243_268}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (64, 28, 28), np.uint8)


def test_the_letters_are_the_same_everywhere():
    assert list(ARCHITECTURES) == list(LETTERS) == [letter.value for letter in Letter] == list(LAYERS)


@pytest.mark.parametrize("letter", LAYERS)
def test_an_architecture_has_the_exercises_layers_and_parameters(letter):
    architecture = ARCHITECTURES[letter]
    model = architecture.build()
    assert " ".join(type(layer).__name__ for layer in model.layers) == LAYERS[letter]
    assert model.count_params() == architecture.parameters == PARAMETERS[letter]
    assert f"{architecture.parameters:,}" in architecture.layers.__doc__
    assert f"{architecture.later[1]:.4f}"[1:] in architecture.layers.__doc__
    assert f"`digits train {letter}`" in architecture.layers.__doc__


@pytest.mark.parametrize("letter", LAYERS)
def test_every_convolution_has_relu(letter):
    def convolutions(layers):
        for layer in layers:
            yield from convolutions([inner for branch in getattr(layer, "branches", []) for inner in branch])
            if isinstance(layer, keras.layers.Conv2D):
                yield layer

    activations = {layer.activation.__name__ for layer in convolutions(ARCHITECTURES[letter].build().layers)}
    assert activations == {"relu"}


def test_local_response_normalization_equals_tensorflows():
    x = np.random.default_rng(1).normal(0, 40, (4, 7, 7, 16)).astype(np.float32)
    expected = tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)
    np.testing.assert_allclose(LocalResponseNormalization()(x), expected, rtol=2e-6)


def test_an_inception_concatenates_its_four_branches():
    layer = Inception(8, 16, 4, 4, 12, 2)
    x = np.random.default_rng(1).normal(size=(2, 7, 7, 16)).astype(np.float32)
    output = layer(x)
    assert output.shape == (2, 7, 7, 32)
    assert layer.count_params() == 2_390
    np.testing.assert_allclose(output[..., :8], layer.branches[0][0](x), rtol=1e-5, atol=1e-6)
    pooled = tf.nn.max_pool2d(x, 3, 1, "SAME")
    np.testing.assert_allclose(output[..., -4:], layer.branches[3][1](pooled), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("letter", ["C", "F"])
def test_a_saved_model_with_our_layers_loads_and_answers_the_same(letter, tmp_path, images):
    model = ARCHITECTURES[letter].build()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = images[..., None].astype(np.float32)
    np.testing.assert_array_equal(model(x), loaded(x))


def test_distortion_moves_every_image_its_own_way_and_the_seed_decides(images):
    x = tf.constant(np.repeat(images[:1], 8, 0)[..., None], tf.float32)
    first, again, other = (random_affine(x, seed).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in (*first, *other)}) == 16


def test_distortion_keeps_a_digit_in_sight_and_fills_with_paper():
    blob = np.zeros((200, 28, 28, 1), np.float32)
    blob[:, 12:16, 12:16] = 255
    distorted = random_affine(tf.constant(blob), [3, 4]).numpy()[..., 0]
    mass = distorted.sum(axis=(1, 2))
    centre = (distorted.sum(axis=1) @ np.arange(28)) / mass
    assert np.all((mass > 0.7 * 16 * 255) & (mass < 1.4 * 16 * 255))
    assert np.all(np.abs(centre - 13.5) < 2.5)
    assert np.ptp(centre) > 3.0
    assert distorted[:, :3, :3].max() == 0


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(name, images):
    recipe = recipes.recipe_for(name, "A")
    labels = np.arange(64, dtype=np.uint8)  # so that a label tells which image it is
    batches = recipes.training_batches(images, labels, recipe, seed=5)

    def order():
        return np.concatenate([y.numpy().argmax(1) if y.ndim == 2 else y.numpy() for _, y in batches])

    epochs = [order(), order()]
    if name == "notebook":
        assert [sorted(epoch) for epoch in epochs] == [list(range(64))] * 2
        assert list(epochs[0]) != list(epochs[1])
    again = recipes.training_batches(images, labels, recipe, seed=5)
    first, same = next(iter(again)), next(iter(recipes.training_batches(images, labels, recipe, seed=5)))
    np.testing.assert_array_equal(first[0], same[0])


def test_the_notebook_recipe_is_the_notebooks(images):
    recipe = recipes.recipe_for("notebook", "A")
    model = recipes.build(ARCHITECTURES["A"], recipe, 60_000)
    assert (recipe.epochs, recipe.batch_size, recipe.patience) == (100, 32, 10)
    assert model.optimizer.get_config() == keras.optimizers.RMSprop(name=model.optimizer.name).get_config()
    assert model.loss == "sparse_categorical_crossentropy"
    assert recipes.steps_per_epoch(recipe, 60_000) == 1_875
    x, y = next(iter(recipes.training_batches(images, images[:, 0, 0] % 10, recipe, seed=1)))
    assert (x.shape, x.dtype, float(tf.reduce_max(x))) == ((32, 28, 28, 1), tf.float32, 255.0)
    assert y.dtype == tf.int32


def test_scaling_happens_inside_the_tuned_model(images):
    model = recipes.build(ARCHITECTURES["A"], recipes.recipe_for("tuned", "A"), 60_000)
    assert isinstance(model.layers[0], keras.layers.Rescaling)
    x, y = next(iter(recipes.training_batches(images, images[:, 0, 0] % 10, recipes.recipe_for("tuned", "A"), seed=1)))
    assert float(tf.reduce_max(x)) > 200
    np.testing.assert_allclose(tf.reduce_max(y, axis=1), 0.955, rtol=1e-6)


def test_evaluation_sees_every_image_in_order_undistorted_and_unsmoothed(images):
    labels = images[:, 0, 0] % 10
    x, y = next(iter(recipes.evaluation_batches(images, labels, recipes.recipe_for("tuned", "A"))))
    np.testing.assert_array_equal(x[..., 0], images)
    np.testing.assert_array_equal(y, np.eye(10)[labels])
