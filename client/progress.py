"""A bar on stderr for many files: how many, how fast, how long still. Only where a person sees it."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(count: Callable[[], int | None] | None, lines: bool = False) -> Iterator[Callable[[], None]]:
    """Show a bar, and yield what moves it by one file. Without a terminal there is none.

    `count` tells how many files there are, or None; it runs in a thread, as walking through a million takes a while.
    With `lines`, stdout gets one a file: on a terminal there is no bar then, above which rich would wrap them.
    """
    shared = sys.stdout.isatty()
    if not sys.stderr.isatty() or (lines and shared):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(elapsed_when_finished=True)
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=shared) as bar:
        task = bar.add_task("", total=None, rate="")
        if count:
            threading.Thread(target=lambda: bar.update(task, total=count()), daemon=True).start()

        def move() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:,.0f} files/s" if speed else "")

        yield move
