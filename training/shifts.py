"""A model's mean answer to an image and to two shifts of it, within the model that is exported."""

import keras

from client.contract import IMAGE_SIZE

SHIFTS = ((0, 0), (1, -1), (-1, 1))
"""Pixels down and to the right. Two more, or eight, take hardly another mistake away: docs/accuracy.md."""


def averaged(model: keras.Model) -> keras.Model:
    """Make a model of the same weights, input and name that answers with the mean over SHIFTS (three times the work).

    What leaves the image is lost, and paper comes in.
    """
    image = keras.layers.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    wider = keras.layers.ZeroPadding2D(1)(image)
    answers = [
        model(keras.layers.Cropping2D(((1 - down, 1 + down), (1 - right, 1 + right)))(wider)) for down, right in SHIFTS
    ]
    return keras.Model(image, keras.layers.Average()(answers), name=model.name)
