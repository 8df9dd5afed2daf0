"""The model card of a version, one page rendered from its benchmark.json and evaluation.json, and its mistakes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from client.console import counted
from serving.versions import EXTRA, MODEL_CARD_FILE
from training import confusion
from training.data import Array
from training.results import ENSEMBLE, Result
from training.table import to_markdown

_TEMPLATE = """---
license: apache-2.0
library_name: keras
tags: [image-classification, mnist]
metrics:
  accuracy: {own.accuracy:.4f}
  validation_accuracy: {own.val_accuracy:.4f}
---
# Model {own.model}: {own.description}

Reads one handwritten digit in a 28×28 greyscale image: a convolutional network of {own.parameters:,}
parameters{answer}.

**Input** `images` uint8 [n, 28, 28], 0 is paper and 255 is ink, the digit centred by mass in a 20×20 box as in MNIST.
**Output** `probabilities` float32 [n, 10] and `digit` int64 [n].
**Limits** It always answers with a digit: for letters, blank paper and several digits in one image too. Photos and
scans need the preprocessing of the `digits` client first. MNIST was written by American census employees and pupils;
the figures here say nothing of people who learned other forms of 0, 4 or 7. Probabilities are not calibrated: see
how sure it was of its mistakes.
**Start** `digits serve` with `--models` on the folder that holds `{own.model}/`, then
`digits classify photo.jpg --model {own.model}`.

**Data** MNIST: {own.images:,} training images{changes}.
Chosen by distorted copies of the first 5,000 test images, reported on the last 5,000.
**Training** recipe `{own.recipe}`,{seed} {epochs} in {own.core_seconds:.0f} core seconds.
**Accuracy** {own.accuracy:.4f} on test ({errors} of 5,000; {own.errors[1]} of all 10,000){published},
{own.val_accuracy:.4f} on validation, {own.train_accuracy:.4f} on training images.
**Hardware** {own.device}. **Software** {packages}.
{details}
## All models

{table}

Reproduce with `{command}`.
"""
_DEFAULTS = {"epochs": None, "limit": None, "precision": "float32", "seeds": 1, "ensemble": 0}
_DETAILS = """
## Each digit of the test half

| digit | {digits} |
| --- |{rule}
| accuracy | {accuracies} |

Confused most often: {confused}.
"""


def write(directory: Path, content: dict[str, Any], evaluation: dict[str, Any], images: Array) -> None:
    """Write model_card.md into a version, and the surest mistakes among the 10,000 `images` beside it."""
    from training import figures

    card = render(content, evaluation)
    if evaluation["mistakes"]:
        picture = figures.mistakes(content["model"], evaluation["mistakes"], images)
        image = replace(picture, name="mistakes").save(directory / EXTRA)
        card += (
            f"\n## {image.title}\n\nThe digit, the answer, and how sure it was.\n\n![{image.alt}]({image.path.name})\n"
        )
    (directory / MODEL_CARD_FILE).write_text(card, "utf-8")


def render(content: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Render the Markdown of a model card."""
    rows = [Result(**row) for row in content["results"]]
    own = next(row for row in rows if row.run == content["run"])
    packages = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    published = f", the author {own.published_accuracy:.4f}" if own.published_accuracy else ""
    details = _details(evaluation["confusion"])
    table = to_markdown(rows)
    recipe = content.get("recipe") or {}  # an ensemble's: what the recipes of all its members share
    answer = ", which answers with its mean over the image and two shifts of it" if recipe.get("shifts") else ""
    seed = "" if own.model == ENSEMBLE else f" seed {own.seed},"
    counts = {"epochs": counted(own.epochs, "epoch"), "errors": counted(own.errors[0], "error")}
    words = {**counts, "answer": answer, "changes": _changes(recipe), "seed": seed, "command": command(own, content)}
    return _TEMPLATE.format(own=own, published=published, packages=packages, details=details, table=table, **words)


def _changes(recipe: dict[str, Any]) -> str:
    """Say how a recipe changes the training images."""
    changes = []
    if share := recipe.get("upstrokes"):
        changes.append(f"an upstroke drawn at up to {100 * share:.0f} % of the ones")
    if share := recipe.get("pens"):
        changes.append(f"{100 * share:.0f} % redrawn with another pen or fewer pixels")
    if recipe.get("distort"):
        changes.append("rotated, scaled, sheared, shifted and tilted anew in each epoch")
    return "".join(f", {change}" for change in changes)


def command(own: Result, content: dict[str, Any]) -> str:
    """Give the command that makes this model again; an ensemble's trains its members and what lies between them."""
    members = content.get("members") or []
    told = members or [{"model": own.model, "seed": own.seed}]
    seeds = [one["seed"] for one in told]
    asked = {"recipe": own.recipe, **(content.get("settings") or {}), "seed": min(seeds)}
    asked |= {"seeds": max(seeds) - min(seeds) + 1, "letter": None, "ensemble": len(members)}
    letters = {one["model"] for one in told}
    words = [f"--{name} {value}" for name, value in asked.items() if value != _DEFAULTS.get(name)]
    return " ".join(["digits train", *sorted(letters), *words])


def _details(matrix: confusion.Matrix) -> str:
    accuracies = " | ".join(f"{accuracy:.4f}" for accuracy in confusion.accuracies(matrix))
    digits = " | ".join(str(digit) for digit in range(len(matrix)))
    rule = " --: |" * len(matrix)
    return _DETAILS.format(digits=digits, rule=rule, accuracies=accuracies, confused=confusion.named(matrix, 5))
