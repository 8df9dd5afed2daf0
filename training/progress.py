"""Show how far trainings are, on stderr: a bar per model on a terminal, a plain line per epoch elsewhere."""

import time
from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console

from client.console import note
from training.job import Progress


class Display:
    """A context manager that is fed `Progress`, of any number of models at once."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.terminal = console.is_terminal
        self.started: dict[str, tuple[float, float]] = {}
        self.tasks: dict[str, rich.progress.TaskID] = {}
        self.bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.fields[name]}"),
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.fields[line]}"),
            console=console,
            disable=not self.terminal,
        )

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def say(self, message: str) -> None:
        """Print a line above the bars; where there are none, one that nobody reads stops no training."""
        if self.terminal:
            self.bars.console.print(message, highlight=False, markup=False, soft_wrap=True)
        else:
            note(message)

    def show(self, progress: Progress) -> None:
        """Take in where a training is."""
        name = progress.name
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task("", total=progress.epochs, name=name, line="starting")
            self.say(f"{name}  training on {progress.device}")
        self._show_bar(name)
        if progress.remark:
            self.say(f"{name}  {progress.remark}")
        if progress.epoch and name not in self.started:
            self.started[name] = time.monotonic(), progress.epoch  # without the seconds that compiling takes
        if progress.val_accuracy is None:
            self.bars.update(self.tasks[name], completed=progress.epoch)
            return
        line = self._line(progress)
        self.bars.update(self.tasks[name], completed=progress.epoch, line=line)
        if not self.terminal:
            self.say(f"{name}  {line}")

    def _show_bar(self, name: str) -> None:
        """Show the bar, and hide what a low terminal has no line for: the longest silent, which are done or failed."""
        self.tasks[name] = self.tasks.pop(name)  # the last one heard from is the last in there
        for line, task in enumerate(reversed(self.tasks.values()), 1):
            self.bars.update(task, visible=line < self.bars.console.height)

    def _line(self, progress: Progress) -> str:
        started, first = self.started[progress.name]
        done = progress.epoch - first or 1.0  # an epoch of one call
        minutes, seconds = divmod(round((time.monotonic() - started) / done * (progress.epochs - progress.epoch)), 60)
        return (
            f"epoch {progress.epoch:.0f}/{progress.epochs}  loss {progress.loss:.4f}"
            f"  val accuracy {progress.val_accuracy:.4f}  {minutes}:{seconds:02} left"
        )
