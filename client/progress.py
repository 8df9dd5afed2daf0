"""A bar on stderr for many files: how many, how fast, how long still. Only where a person sees it."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(count: Callable[[], int] | None) -> Iterator[Callable[[], None]]:
    """Show a bar, and yield what moves it by one file. Without a terminal there is none.

    `count` tells how many files there are; it runs in a thread, as walking through a million takes a while.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(elapsed_when_finished=True)
    console, shared = Console(stderr=True), sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=shared) as bar:
        task = bar.add_task("", total=None, rate="")
        if count:
            threading.Thread(target=lambda: bar.update(task, total=count()), daemon=True).start()

        def move() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:,.0f} files/s" if speed else "")

        yield move
