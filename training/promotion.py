"""Which of the exported models is served: the best by validation, unless a better one is served already."""

from pathlib import Path

from client.console import note
from client.contract import MODEL
from client.errors import DigitsError
from serving.releases import list_releases, promotion
from serving.versions import copy_version
from training import results
from training.results import Result


def promote(models: Path, rows: list[Result], published: dict[str, Path]) -> None:
    """Serve the best of these models, whose newest versions are `published`, unless what is served ranks above it."""
    try:
        served = results.served_result(models)
    except DigitsError as error:
        note(f"{MODEL}  stays as it is: {error} Or run: {promotion(models, results.best(rows).model)}")
        return
    all_rows = [*rows, served] if served else rows
    best, first, trained = results.best(all_rows), results.ranked(all_rows)[0], results.best(rows)
    if first is not best and first is not served:
        note(
            f"{first.model}  makes {first.distorted_errors:.1f} errors on distorted validation images and {best.model}"
            f" {best.distorted_errors:.1f}: within a standard error, and it takes longer. To serve it all the same:"
            f" {promotion(models, first.model)}"
        )
    if served and results.ranked([best, served])[0] is served:  # also an ensemble that somebody promoted
        note(
            f"{MODEL}  stays at model {served.model} ({_accuracy(served)}): the best trained now, {trained.model}, has"
            f" {trained.distorted_accuracy:.4f}. To serve it all the same: {promotion(models, trained.model)}"
        )
        return
    version, newest = published[best.model], list_releases(models / MODEL)[0] if served else None
    if newest and newest.origin == f"{version.parent.name}/{version.name}":  # from before an interruption
        number = str(newest.version)
    else:
        number = copy_version(version, models / MODEL, "the best by validation").name
    note(f"{MODEL}  version {number} is model {best.model} ({_accuracy(best)})")


def _accuracy(row: Result) -> str:
    return f"accuracy on distorted validation images {row.distorted_accuracy:.4f}"
