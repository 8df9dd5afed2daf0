"""The architectures and layers are those of the exercise, and compute what Keras' and TensorFlow's do."""

from dataclasses import asdict

import keras
import numpy as np
import pytest
import tensorflow as tf

from training import evaluate, recipes
from training.architectures import ARCHITECTURES
from training.augment import distort
from training.cli import LETTERS
from training.layers import BatchNormalization, Conv2D, Inception, LocalResponseNormalization, load
from training.results import MODELS
from training.shifts import averaged

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
PARAMETERS = {
    "A": 83_850,
    "B": 83_850,
    "C": 83_850,
    "D": 120_330,
    "E": 126_492,
    "F": 243_268,
    "G": 121_146,
    "H": 268_026,
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (64, 28, 28), np.uint8)


def test_the_letters_are_the_same_everywhere():
    assert list(ARCHITECTURES) == [*LETTERS] == [*LAYERS, "G", "H"]
    assert list(MODELS) == [*ARCHITECTURES, "ensemble"]


@pytest.mark.parametrize("letter", LAYERS)
def test_an_architecture_has_the_exercises_layers(letter):
    architecture = ARCHITECTURES[letter]
    model = architecture.build()
    assert " ".join(type(layer).__name__ for layer in model.layers) == LAYERS[letter]
    assert f"{architecture.published[1]:.4f}"[1:] in architecture.layers.__doc__
    assert f"`digits train {letter}`" in architecture.layers.__doc__


@pytest.mark.parametrize("letter", ARCHITECTURES)
def test_an_architecture_has_the_parameters_that_it_says(letter):
    architecture = ARCHITECTURES[letter]
    assert architecture.build().count_params() == PARAMETERS[letter]
    assert f"{PARAMETERS[letter]:,}" in architecture.layers.__doc__


@pytest.mark.parametrize("letter", LAYERS)
def test_every_convolution_has_relu(letter):
    def convolutions(layers):
        for layer in layers:
            yield from convolutions([inner for branch in getattr(layer, "branches", []) for inner in branch])
            if isinstance(layer, keras.layers.Conv2D):
                yield layer

    activations = {layer.activation.__name__ for layer in convolutions(ARCHITECTURES[letter].build().layers)}
    assert activations == {"relu"}


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_that_covers_its_input_computes_what_keras_does(bias):
    x = np.random.default_rng(1).normal(size=(4, 3, 3, 16)).astype(np.float32)
    ours, keras_own = (kind(8, 3, activation="relu", use_bias=bias) for kind in (Conv2D, keras.layers.Conv2D))
    ours.build(x.shape)
    keras_own.build(x.shape)
    keras_own.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(x), keras_own(x), rtol=1e-4, atol=1e-5)
    assert ours(x).shape == (4, 1, 1, 8)


def test_fused_batch_normalization_computes_what_keras_does():
    x = np.random.default_rng(1).normal(3, 5, (16, 7, 7, 8)).astype(np.float32)
    ours, keras_own = (kind(momentum=0.9) for kind in (BatchNormalization, keras.layers.BatchNormalization))
    np.testing.assert_allclose(ours(x, training=True), keras_own(x, training=True), rtol=1e-4, atol=1e-5)
    for kept, other in zip(ours.non_trainable_variables, keras_own.non_trainable_variables, strict=True):
        np.testing.assert_allclose(kept, other, rtol=2e-3)  # n - 1 instead of n
    keras_own.set_weights(ours.get_weights())
    np.testing.assert_array_equal(ours(x, training=False), keras_own(x, training=False))


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
    reduced = layer.branches[1][0](x)
    np.testing.assert_allclose(output[..., 8:24], layer.branches[1][1](reduced), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output[..., :8], layer.branches[0][0](x), rtol=1e-5, atol=1e-6)
    pooled = tf.nn.max_pool2d(x, 3, 1, "SAME")
    np.testing.assert_allclose(output[..., -4:], layer.branches[3][1](pooled), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("letter", ["C", "F", "G"])
def test_a_saved_model_with_our_layers_loads_and_answers_the_same(letter, tmp_path, images):
    model = ARCHITECTURES[letter].build()
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    x = images[..., None].astype(np.float32)
    np.testing.assert_array_equal(model(x), loaded(x))


def test_only_h_is_trained_on_more_than_mnist():
    made = {letter: recipes.recipe_for("tuned", letter) for letter in ARCHITECTURES}
    assert {letter for letter, recipe in made.items() if recipe.upstrokes or recipe.pens} == {"H"}


def test_models_are_chosen_by_ones_with_upstrokes_too(mnist_test):
    images, labels = (array[:1000] for array in mnist_test)
    written, without = evaluate.distorted(images, labels, 3), evaluate.distorted(images, np.zeros_like(labels), 3)
    changed = (written != without).any(axis=(1, 2))
    assert set(labels[changed]) == {1}
    assert 0.1 < np.mean(changed[labels == 1]) <= evaluate.UPSTROKES


def test_distortion_moves_every_image_its_own_way_and_the_seed_decides(images):
    x = tf.constant(np.repeat(images[:1], 8, 0)[..., None], tf.float32)
    seeds = [tf.constant(seed, tf.int64) for seed in ([1, 2], [1, 2], [1, 3])]
    first, again, other = (distort(x, (seed[0], seed[1])).numpy() for seed in seeds)
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in (*first, *other)}) == 16


def test_distortion_keeps_a_digit_in_sight_and_fills_with_paper():
    blob = np.zeros((200, 28, 28, 1), np.float32)
    blob[:, 12:16, 12:16] = 255
    distorted = distort(tf.constant(blob), tuple(tf.constant([3, 4], tf.int64))).numpy()[..., 0]
    mass = distorted.sum(axis=(1, 2))
    centre = (distorted.sum(axis=1) @ np.arange(28)) / mass
    assert np.all((mass > 0.6 * 16 * 255) & (mass < 1.6 * 16 * 255))
    assert np.all(np.abs(centre - 13.5) < 2.0)
    assert np.ptp(centre) > 2.0
    assert distorted[:, :3, :3].max() == 0


def test_the_notebook_recipe_is_the_notebooks():
    recipe = recipes.recipe_for("notebook", "A")
    assert (recipe.epochs, recipe.batch_size, recipe.patience, recipe.distort) == (100, 32, 10, False)
    assert type(recipes.build(ARCHITECTURES["A"], recipe).layers[0]) is Conv2D  # raw 0..255 go in


@pytest.mark.parametrize("letter", ARCHITECTURES)
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_what_a_recipe_says_for_the_records_is_what_it_does(name, letter):
    recipe = recipes.recipe_for(name, letter)
    said, optimizer = asdict(recipe), recipe.new_optimizer(steps_per_epoch=1)
    assert said["optimizer"] == type(optimizer).__name__.lower()
    done = {"warm_up": 0.0, "weight_decay": 0.0} | asdict(optimizer)
    assert (said["warm_up"], said["weight_decay"]) == (done["warm_up"], done["weight_decay"])


def test_scaling_happens_inside_the_tuned_model():
    model = recipes.build(ARCHITECTURES["A"], recipes.recipe_for("tuned", "A"))
    assert isinstance(model.layers[0], keras.layers.Rescaling)
    assert model.layers[0].scale == 1 / 255


def test_a_model_of_another_precision_keeps_float32_weights_and_answers():
    model = recipes.build(ARCHITECTURES["G"], recipes.recipe_for("tuned", "G", precision="bfloat16"))
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert model.layers[2].compute_dtype == "bfloat16"
    assert model.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_model_with_shifts_answers_with_its_mean_over_the_image_and_two_diagonal_shifts(images):
    model = recipes.build(ARCHITECTURES["G"], recipes.recipe_for("tuned", "G"))
    with_shifts = averaged(model)
    paper = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    answers = [evaluate.answer(model, moved) for moved in (images, paper[:, :28, 2:], paper[:, 2:, :28])]
    np.testing.assert_allclose(evaluate.answer(with_shifts, images), np.mean(answers, axis=0), rtol=1e-4, atol=1e-6)
    assert (with_shifts.name, with_shifts.count_params()) == ("G", model.count_params())
