"""What to train, and the word about how far it is. No TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train. `epochs`, `limit` (training images) and `data` of None mean the recipe's, all, and any source."""

    letter: str
    run_dir: Path
    recipe: str = "tuned"
    epochs: int | None = None
    seed: int = 1
    limit: int | None = None
    data: Path | None = None
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class Progress:
    """Where a training is: `epoch` may have a fraction; loss and accuracy are of the last whole epoch."""

    letter: str
    epoch: float
    epochs: int
    loss: float | None = None
    val_accuracy: float | None = None
    device: str = ""


Report = Callable[[Progress], None]
