"""The model card of a version, rendered from its benchmark.json."""

from typing import Any

from training.results import Result, to_markdown

_TEMPLATE = """---
license: apache-2.0
library_name: keras
tags: [image-classification, mnist]
metrics:
  accuracy: {own.accuracy:.4f}
  validation_accuracy: {own.val_accuracy:.4f}
---
# Model {own.model}: {own.description}

Reads one handwritten digit in a 28×28 greyscale image: a convolutional network of {own.parameters:,} parameters.

**Input** `images` uint8 [n, 28, 28], 0 is paper and 255 is ink, the digit centred by mass in a 20×20 box as in MNIST.
**Output** `probabilities` float32 [n, 10] and `digit` int64 [n]. Photos and scans need the preprocessing of the
`digits` client first. Letters, several digits in one image and blank paper are out of scope: it answers with a digit.

**Data** MNIST: {own.images:,} training images; chosen by the first 5,000 test images, reported on the last 5,000.
**Training** recipe `{own.recipe}`, seed {own.seed}, {own.epochs} epochs in {own.seconds:.0f} s on {own.device}.
**Accuracy** {own.accuracy:.4f} on test ({own.errors[0]} errors of 5,000), {own.val_accuracy:.4f} on validation
({own.errors[1]} errors of all 10,000), {own.train_accuracy:.4f} on training images{published}.
**Versions** {packages}.

## All models

{table}

Reproduce with `digits train {own.model} --recipe {own.recipe} --seed {own.seed}`.
"""


def render(content: dict[str, Any]) -> str:
    """Render the Markdown of a model card."""
    rows = [Result(**row) for row in content["results"]]
    own = next(row for row in rows if row.run == content["run"])
    packages = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    published = f"; the author published {own.published_accuracy:.4f}" if own.published_accuracy else ""
    return _TEMPLATE.format(own=own, published=published, packages=packages, table=to_markdown(rows))
