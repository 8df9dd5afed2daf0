"""How the weights of a model lie in one flat vector, in the order of Keras' `trainable_variables`."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Tensor = Any
Mask = NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The shapes of the weights; `parameters` numbers in all."""

    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, variables: Iterable[Any]) -> "Layout":
        """Look at Keras' variables."""
        return cls(tuple(tuple(variable.shape) for variable in variables))

    @cached_property
    def sizes(self) -> list[int]:
        """Give how many numbers each of the weights has."""
        return [int(np.prod(shape)) for shape in self.shapes]

    @cached_property
    def kernels(self) -> Mask:
        """Give 1 for each number of a kernel and 0 for those of biases and normalizations, float32 [parameters]."""
        return self.mask(len(shape) > 1 for shape in self.shapes)

    @cached_property
    def hidden(self) -> list[bool]:
        """Tell which weights are kernels, but not the last one, whose answers are the model's."""
        last = max(n for n, shape in enumerate(self.shapes) if len(shape) > 1)
        return [len(shape) > 1 and n != last for n, shape in enumerate(self.shapes)]

    def mask(self, chosen: Iterable[bool]) -> Mask:
        """Give 1 for each number of the chosen weights and 0 for the others, float32 [parameters]."""
        return np.repeat(np.array(list(chosen), np.float32), self.sizes)

    def flatten(self, parts: Iterable[Tensor]) -> Tensor:
        """Put weights one after the other."""
        return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)

    def unflatten(self, flat: Tensor) -> list[Tensor]:
        """Take them apart again."""
        parts = tf.split(flat, self.sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]
