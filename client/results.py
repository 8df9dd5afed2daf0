"""What became of each picture of a stream: a prediction, or the reason why there is none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from client.answers import Prediction
from client.batches import Batch
from client.digit import Prepared
from client.errors import InvalidImage
from client.prepare import Picture


@dataclass(frozen=True, eq=False)  # a picture may be an array, whose == is none
class Result:
    """One picture's outcome: `prediction`, or else `error`, which is NoDigit when the paper is blank."""

    picture: Picture
    prediction: Prediction | None = None
    error: InvalidImage | None = None

    def expect(self) -> Prediction:
        """Give the prediction. Raises the error when there is none."""
        if self.prediction is None:
            raise self.error or InvalidImage("no prediction")
        return self.prediction


def results(batch: Batch, predictions: list[Prediction]) -> Iterator[Result]:
    """Match the answers of one request with the pictures of its batch. Raises what their source failed with."""
    answers = iter(predictions)
    for picture, outcome in zip(batch.pictures, batch.outcomes, strict=True):
        if isinstance(outcome, Prepared):
            prediction = next(answers)
            noted = replace(prediction, notes=outcome.notes) if outcome.notes else prediction
            yield Result(picture, noted)
        else:
            yield Result(picture, error=outcome)
    if batch.failure:
        raise batch.failure
