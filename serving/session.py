"""TensorFlow's session: serves what LiteRT cannot, where TensorFlow is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client.stderr import silenced_stderr
from client.tensors import Array
from serving.errors import STATUSES, ServingError, invalid, too_late
from serving.limits import Budget
from serving.signatures import Signatures

MOST_MILLISECONDS = 2**31
"""What stands for no deadline."""


class SessionEngine:
    """TensorFlow's version 1 session, which loads and runs a SavedModel as TensorFlow Serving does."""

    name = "TensorFlow"

    def __init__(self, version_dir: Path, signatures: Signatures) -> None:
        with silenced_stderr():
            import tensorflow as tf

            tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
            self._session = tf.compat.v1.Session(graph=tf.Graph())
            tf.compat.v1.saved_model.load(self._session, ["serve"], str(version_dir))
        self._failure = tf.errors.OpError
        self._run_options = tf.compat.v1.RunOptions
        self._signatures = signatures

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], budget: Budget
    ) -> dict[str, Array]:
        """Run the graph; the session's own errors keep their code and text."""
        definition = self._signatures[signature]
        feeds = {definition.inputs[alias].name: array for alias, array in inputs.items()}
        fetches = {alias: definition.outputs[alias].name for alias in outputs}
        try:
            answer = self._session.run(fetches, feeds, self._options(budget))
        except self._failure as error:
            status = STATUSES[error.error_code]  # a time that is over has one text, the session now and then two
            raise (too_late() if status == "DEADLINE_EXCEEDED" else ServingError(status, error.message)) from None
        if any(array is None for array in answer.values()):
            raise invalid(f"Signature {signature} cannot be run.")
        return {alias: np.asarray(array) for alias, array in answer.items()}

    def _options(self, budget: Budget) -> Any:
        milliseconds = min(budget.seconds_left() * 1000, MOST_MILLISECONDS)
        return self._run_options(timeout_in_ms=max(1, int(milliseconds)))

    def close(self) -> None:
        """Free the variables."""
        self._session.close()
