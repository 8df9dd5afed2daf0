"""The training loop takes Keras' steps, on any number of devices, in an order that the seed decides."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from training import data
from training.architectures import ARCHITECTURES
from training.evaluate import Evaluator, score
from training.loop import Loop
from training.optimizers import Muon, OneCycle, RMSprop, orthogonal
from training.recipes import build, recipe_for
from training.weights import Layout


@pytest.fixture(scope="module")
def mnist():
    return data.load().limit(640)


def new_loop(mnist, letter="A", recipe="notebook", seed=1, **changes):
    keras.utils.set_random_seed(seed)
    settings = replace(recipe_for(recipe, letter), **changes)
    return Loop(build(ARCHITECTURES[letter], settings), settings, mnist.x_train, mnist.y_train, seed)


def run(loop, epochs=1):
    state = loop.start()
    for epoch in range(epochs):
        state, loss, accuracy = loop.epoch(state, epoch, lambda step: None)
    return state, loss, accuracy


def test_an_epoch_of_the_notebook_is_an_epoch_of_keras(mnist):
    loop = new_loop(mnist)
    twin = keras.models.clone_model(loop.model)
    twin.set_weights(loop.model.get_weights())
    twin.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy")
    for batch in np.random.default_rng((1, 0)).permutation(640).reshape(-1, 32):
        twin.train_on_batch(mnist.x_train[batch][..., None].astype(np.float32), mnist.y_train[batch])
    loop.show(run(loop)[0])
    for ours, keras_own in zip(loop.model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-2, atol=2e-4)  # 20 steps of rounding


def test_rmsprop_is_keras():
    assert_same_steps(RMSprop(1e-2), keras.optimizers.RMSprop(1e-2))


def test_muon_is_keras_muon_at_the_rate_of_its_schedule():
    ours = Muon(peak=1e-2, steps=10, warm_up=0.2, weight_decay=0.1)
    theirs = keras.optimizers.Muon(weight_decay=0.1, adam_weight_decay=0.1, adam_beta_2=0.99, exclude_layers=["output"])
    theirs.exclude_from_weight_decay(var_names=["bias"])
    assert_same_steps(ours, theirs)


def assert_same_steps(ours, theirs):
    random = np.random.default_rng(0)
    shapes = {"wide": (4, 6), "tall": (6, 3), "bias": (3,), "output": (3, 5)}
    variables = [
        keras.Variable(random.normal(size=shape), dtype="float32", name=name) for name, shape in shapes.items()
    ]
    layout = Layout.of(variables)
    start = layout.flatten(variables)
    state = {"weights": start, **{slot: tf.zeros_like(start) for slot in ours.slots}}
    for step in range(5):
        gradients = [tf.constant(random.normal(size=shape), tf.float32) for shape in shapes.values()]
        theirs.learning_rate = float(ours.rate(tf.constant(step, tf.int64)))
        theirs.apply(gradients, variables)
        state = ours.update(state, layout.flatten(gradients), layout, tf.constant(step, tf.int64))
    np.testing.assert_allclose(state["weights"], layout.flatten(variables), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (1, 1, 128, 32), (5, 5, 1, 8)])
def test_the_step_of_a_kernel_has_all_singular_values_near_one_and_the_size_of_adams(shape):
    gradient = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    step = orthogonal(tf.constant(gradient)).numpy().reshape(-1, shape[-1])
    values = np.linalg.svd(step, compute_uv=False) / (0.2 * max(step.shape) ** 0.5)
    assert 0.6 < values.min() < values.max() < 1.3
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.2, rel=0.3)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    cycle = OneCycle(peak=1.0, steps=100, warm_up=0.2)
    rates = [float(cycle.rate(tf.constant(step, tf.int64))) for step in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[20] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0, abs=1e-6)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_kernels_decay_and_biases_do_not():
    layout = Layout(((4, 6), (6,), (6, 3), (3,)))
    optimizer = Muon(peak=1e-2, steps=10, warm_up=0.2, weight_decay=0.1)
    zeros = tf.zeros(sum(layout.sizes))
    state = {"weights": zeros + 1, **dict.fromkeys(optimizer.slots, zeros)}
    new = optimizer.update(state, zeros, layout, tf.constant(2, tf.int64))["weights"].numpy()  # at the peak
    kernels = np.repeat([True, False, True, False], layout.sizes)
    assert (new[kernels] < 1).all()
    assert (new[~kernels] == 1).all()


@pytest.mark.parametrize("letter", ["B", "G"])  # dropout's seeds and batch normalization's statistics are state too
def test_the_seed_decides_and_nothing_else(mnist, letter):
    first, again, other = (run(new_loop(mnist, letter, "tuned", seed))[0] for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["weights"], other["weights"])


def test_the_model_shows_the_averaged_weights(mnist):
    loop = new_loop(mnist, "C", "tuned")
    state, *_ = run(loop, epochs=2)
    loop.show(state)
    shown = np.concatenate([variable.numpy().ravel() for variable in loop.model.trainable_variables])
    np.testing.assert_array_equal(shown, state["average"])
    assert not np.array_equal(state["average"], state["weights"])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_other_precisions_learn_too(mnist, precision):
    loop = new_loop(mnist.limit(256), "G", "tuned", epochs=4, precision=precision, learning_rate=1e-2)
    first = loop.epoch(loop.start(), 0, lambda step: None)[1]
    assert run(loop, epochs=4)[1] < 0.8 * first


def test_the_score_is_keras(mnist):
    loop = new_loop(mnist)
    probabilities = Evaluator(loop.model).probabilities(mnist.x_val)
    loss = keras.losses.sparse_categorical_crossentropy(mnist.y_val, probabilities).numpy().mean()
    accuracy = keras.metrics.sparse_categorical_accuracy(mnist.y_val, probabilities).numpy().mean()
    assert score(probabilities, mnist.y_val) == pytest.approx((loss, accuracy), rel=1e-5)
