"""What a model computes with: `litert.LiteRTEngine`, or `session.SessionEngine` for versions without a LiteRT file."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from client.tensors import Array
from serving.limits import Budget


class Engine(Protocol):
    """Computes a signature's outputs from inputs that were checked against it; safe under concurrent calls."""

    name: str

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], budget: Budget
    ) -> dict[str, Array]:
        """Compute the named outputs within the budget's time. Raises ServingError."""

    def close(self) -> None:
        """Free memory; called once, after the last run."""
