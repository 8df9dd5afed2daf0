"""Commands of `digits` about releases: versions, promote, rollback."""

import json
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.console import cell, note, shown, tables
from client.contract import MODEL

if TYPE_CHECKING:
    from rich.table import Table

    from serving.releases import Release

app = typer.Typer(rich_markup_mode=None)

_COLUMNS = {"version": 0, "model": 0, "validation": 37, "test": 57, "recipe": 67, "origin": 49, "": 25}
"""Columns → how wide a terminal must be, in characters, to show them; the first two need 17."""

Models = Annotated[Path, typer.Option("--models", envvar="DIGITS_MODELS", help="Model root.")]


@app.command("versions")
def list_versions(
    model: Annotated[str, typer.Argument(help="digits, a letter from A to H, or ensemble.")] = MODEL,
    models: Models = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array, the newest version first.")] = False,
) -> None:
    """Show a model's versions, the newest first, and which is served.

    \b
    digits versions
    digits versions D
    digits versions --json
    """
    from serving.releases import releases_of

    releases = releases_of(models, model)
    if as_json:
        print(json.dumps([asdict(release) for release in releases], indent=1))
    else:
        console = tables()
        console.print(to_table(releases, console.width))


def to_table(releases: "list[Release]", width: int) -> "Table":
    """Render releases as a rich table; a narrow one leaves out columns rather than to cut figures."""
    from rich.table import Table

    room = [width >= needed for needed in _COLUMNS.values()]
    table = Table(*compress(_COLUMNS, room), box=None, pad_edge=False)
    for release in releases:
        figures = [f"{share:.4f}" if share is not None else "?" for share in (release.val_accuracy, release.accuracy)]
        origin = f"copy of {release.origin} ({release.reason})" if release.origin else "exported"
        served = "served" if release.served else ""
        cells = str(release.version), release.model or "?", *figures, release.recipe or "?", origin, served
        table.add_row(*map(cell, compress(cells, room)))
    return table


@app.command()
def promote(
    wanted: Annotated[str, typer.Argument(metavar="MODEL[/VERSION]", help="What to serve, such as D or D/3.")],
    models: Models = Path("models"),
) -> None:
    """Serve another trained model: its copy is digits' next version.

    \b
    digits promote D
    digits promote D/3
    """
    from serving import releases

    _announce(*releases.promote(models, wanted), models)


@app.command()
def rollback(
    to: Annotated[int | None, typer.Option(metavar="VERSION", help="Which; default the one before.")] = None,
    models: Models = Path("models"),
) -> None:
    """Serve the version before: a copy becomes digits' next version. Numbers only grow.

    \b
    digits rollback
    digits rollback --to 3
    """
    from serving import releases

    _announce(*releases.rollback(models, to), models)


def _announce(source: str, release: "Release", models: Path) -> None:
    note(
        f"{MODEL}/{release.version} is published: a copy of {source}, {release.describe()}\n"
        f"a running server switches to it within a second; to start one: digits serve --models {shown(models)}"
    )
