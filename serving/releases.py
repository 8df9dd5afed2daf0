"""What an operator chooses between: the versions of a model, what each holds, and which to publish as the next one.

Everything comes from the version directories. A change is always a copy under a higher number: what is served follows
the highest, and no number ever means two things.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.console import shown
from client.contract import MODEL
from client.errors import UsageError
from serving import versions

ROLLBACK = "rollback"
NO_NAMES = ("", ".", "..")
"""What would lead to the models' folder, or above it, instead of to a model in it."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version. Accuracies are shares of 5,000 images; None for what its files do not tell.

    `origin` is the version that it is a copy of (`A/3`), and `reason` why; both empty for an export.
    """

    version: int
    model: str | None
    val_accuracy: float | None
    accuracy: float | None
    recipe: str | None
    origin: str
    reason: str
    served: bool

    def describe(self) -> str:
        """Say in a few words what the version holds."""
        figure = f", validation accuracy {self.val_accuracy:.4f}" if self.val_accuracy is not None else ""
        return f"model {self.model or 'unknown'}{figure}"


def releases_of(models: Path, name: str) -> list[Release]:
    """Give the versions of a model of a model root, as `list_releases` does. Raises UsageError for a path, too."""
    if name in NO_NAMES or "/" in name:
        raise UsageError(f"{shown(name)}: give MODEL, such as D")
    return list_releases(models / name)


def list_releases(model_dir: Path) -> list[Release]:
    """Give the versions of a model, the newest, which is the served one, first. Raises UsageError without any."""
    found = versions.list_versions(model_dir) if model_dir.is_dir() else {}
    if not found:
        raise UsageError(f"no version of {model_dir.name} in {model_dir.parent}{_others(model_dir)}")
    return [_read(number, path, number == max(found)) for number, path in reversed(found.items())]


def promote(models: Path, wanted: str) -> tuple[str, Release]:
    """Publish a copy of MODEL (its newest version) or MODEL/VERSION as the next version of `digits`.

    Gives the copied version's name and the new release. Raises UsageError for what is not there, and for a path.
    """
    name, _, number = wanted.partition("/")
    if name in NO_NAMES:
        raise UsageError(f"{shown(wanted)}: give MODEL or MODEL/VERSION, such as D or D/3")
    releases = list_releases(models / name)
    release = _find(models / name, releases, number) if number else releases[0]
    return _publish(models, name, release.version, "promoted")


def promotion(models: Path, name: str) -> str:
    """Give the command that promotes a model of a model root."""
    return f"digits promote {shown(name)} --models {shown(models)}"


def rollback(models: Path, to: int | None = None) -> tuple[str, Release]:
    """Publish a copy of the version before the served one, or of the given one, as the next version of `digits`.

    A served version that is itself a rollback counts as the version it copies, so that rolling back twice goes back
    two versions instead of returning to the one that was left. One that was promoted counts as itself.
    """
    releases = list_releases(models / MODEL)
    if to is not None:
        return _publish(models, MODEL, _find(models / MODEL, releases, str(to)).version, ROLLBACK)
    served = _original(releases)
    before = [release.version for release in releases if release.version < served]
    if not before:
        raise UsageError(
            f"{models / MODEL} has no version before {served}. See: digits versions --models {shown(models)}"
        )
    return _publish(models, MODEL, before[0], ROLLBACK)


def _original(releases: list[Release]) -> int:
    by_name = {f"{MODEL}/{release.version}": release for release in releases}
    release = releases[0]
    while release.reason == ROLLBACK and (origin := by_name.get(release.origin)) and origin.version < release.version:
        release = origin  # a copy has a higher number, unless somebody renamed it: no circles
    return release.version


def _publish(models: Path, name: str, version: int, reason: str) -> tuple[str, Release]:
    source = versions.list_versions(models / name)[version]
    if not (source / versions.GRAPH_FILE).is_file() or not (source / "variables").is_dir():
        raise UsageError(f"{source} is not whole: no {versions.GRAPH_FILE} or no variables. Nothing was published.")
    published = versions.copy_version(source, models / MODEL, reason)
    return f"{name}/{version}", _read(int(published.name), published, True)


def _find(model_dir: Path, releases: list[Release], number: str) -> Release:
    for release in releases:
        if number == str(release.version):
            return release
    existing = ", ".join(str(release.version) for release in releases)
    raise UsageError(f"{model_dir.name} has no version {number}: there are {existing}")


def _read(number: int, path: Path, served: bool) -> Release:
    """Read what a version's files tell; a file that is missing or broken leaves its figures out."""
    benchmark, origin = _json(path / versions.BENCHMARK_FILE), _json(path / versions.ORIGIN_FILE)
    results = benchmark.get("results")
    rows = [row for row in results if isinstance(row, dict)] if isinstance(results, list) else []
    row: dict[str, Any] = next((row for row in rows if row.get("served")), {})
    return Release(
        version=number,
        model=_text(benchmark.get("model")),
        val_accuracy=_share(row.get("val_accuracy")),
        accuracy=_share(row.get("accuracy")),
        recipe=_text(row.get("recipe")),
        origin=_text(origin.get("copied_from")) or "",
        reason=_text(origin.get("reason")) or "",
        served=served,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _share(value: Any) -> float | None:
    return value if isinstance(value, int | float) and 0 <= value <= 1 else None


def _json(path: Path) -> dict[str, Any]:
    try:
        return versions.read_json(path)
    except (OSError, ValueError):
        return {}


def _others(model_dir: Path) -> str:
    """Say what there is instead of a model that is not there."""
    root = model_dir.parent
    names = sorted(path.name for path in root.iterdir() if versions.latest_version(path)) if root.is_dir() else []
    return f": there are {', '.join(names)}" if names else f" yet. Run: digits train --models {shown(root)}"
