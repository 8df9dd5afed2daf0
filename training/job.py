"""What to train, and the word about how far it is. No TensorFlow."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train. `epochs`, `limit` (training images) and `data` of None mean the recipe's, all, and any source.

    `name` is what it is called on the screen, `threads` how many of the CPU's it may use (None: all).
    """

    letter: str
    run_dir: Path
    recipe: str = "tuned"
    epochs: int | None = None
    seed: int = 1
    limit: int | None = None
    data: Path | None = None
    device: str = "auto"
    threads: int | None = None
    precision: str = "float32"
    name: str = ""

    def settings(self) -> dict[str, Any]:
        """Give what decides about the weights: a run with other settings is another training."""
        names = ("letter", "recipe", "epochs", "seed", "limit", "precision")
        return {name: value for name, value in dataclasses.asdict(self).items() if name in names}


@dataclass(frozen=True)
class Progress:
    """Where a training is: `epoch` may have a fraction; loss and accuracy are of the last whole epoch."""

    name: str
    epoch: float
    epochs: int
    loss: float | None = None
    val_accuracy: float | None = None
    device: str = ""
    remark: str = ""


Report = Callable[[Progress], None]
