"""One run of `digits classify` over any number of files: what is read, skipped, counted and told."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import tee
from pathlib import Path

from client.answers import Prediction
from client.console import counted, note
from client.errors import InvalidImage, NoDigit, ServerError
from client.files import STDIN, stdin
from client.image import read_pipe
from client.prepare import about
from client.remote import Client
from client.report import Report
from client.results import Result


@dataclass
class Run:
    """How many files came to what, the last answer, and what was left out of folders, by its endings."""

    classified: int = 0
    blank: int = 0
    failed: int = 0
    before: int = 0
    answered: Prediction | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def classify(
        self,
        client: Client,
        files: Iterable[str],
        report: Report,
        processes: int = 1,
        moved: Callable[[], None] = lambda: None,
        shown: Path | None = None,
    ) -> None:
        """Classify files, one result each in their order. What is no image is told on stderr, and the rest goes on.

        `moved` is called for each; what the network sees of them is written under the folder `shown`.
        """
        if shown:
            shown.mkdir(parents=True, exist_ok=True)  # a wrong DIR ends the run here, not at each picture
        names, wanted = tee(self._wanted(files, report, moved))
        try:
            for given, file in zip(client.stream(map(picture, wanted), processes=processes), names, strict=True):
                result = with_name(file, given)
                self._count(result)
                report.add(file, result)
                moved()
                if shown:
                    from client.show import show

                    show(file, given.picture, shown)
        finally:
            report.flush()
        if report.has_benchmark and self.answered:
            self._add_benchmark(client, report, self.answered)

    def _wanted(self, files: Iterable[str], report: Report, moved: Callable[[], None]) -> Iterator[str]:
        for file in files:
            if report.wants(file):
                yield file
            else:
                read = report.before.pop(file, None)  # none when it is named twice
                self.failed += read is False
                self.before += read is True
                moved()

    def _count(self, result: Result) -> None:
        if result.prediction:
            self.classified, self.answered = self.classified + 1, result.prediction
        elif isinstance(result.error, NoDigit):
            self.blank += 1
        else:
            self.failed += 1
            note(f"error: {result.error}")

    def _add_benchmark(self, client: Client, report: Report, answered: Prediction) -> None:
        """Add the results table of the version that answered. A server without one is worth a note, not a failure."""
        try:
            rows = client.benchmark(answered.model_version)
        except ServerError as error:
            note(f"note: the accuracies are not shown: {error}")
            rows = []
        report.add_benchmark(answered, rows)

    def tell_left_out(self) -> None:
        """Tell on stderr what was left out of folders, in one line for all of it."""
        if self.left_out:
            counts = ", ".join(f"{count:,} {ending}" for ending, count in self.left_out.most_common())
            note(f"note: left out what Pillow cannot read: {counts}. Save it as JPEG")

    @property
    def total(self) -> int:
        """How many files there were."""
        return self.classified + self.blank + self.failed + self.before

    def summary(self) -> str:
        """Give the counts as a line."""
        parts = {
            "classified": self.classified,
            "without a digit": self.blank,
            "failed": self.failed,
            "done before": self.before,
        }
        told = [f"{count:,} {what}" for what, count in parts.items() if count or what == "classified"]
        return f"{counted(self.total, 'file')}: {', '.join(told)}"


def picture(file: str) -> str | bytes | InvalidImage:
    """Give what the client reads: the file of that name; of stdin and pipes, which can be read only once, the bytes."""
    try:
        if file == STDIN:
            return read_pipe(stdin())
        mode = os.stat(file).st_mode  # noqa: PTH116 (a Path costs 10 µs)
        if stat.S_ISDIR(mode):
            return InvalidImage("a folder without images")
        if stat.S_ISFIFO(mode):
            with Path(file).open("rb") as pipe:
                return read_pipe(pipe)
    except InvalidImage as error:
        return error
    except OSError as error:
        return InvalidImage(error.strerror)
    except ValueError:  # a NUL in it
        return InvalidImage("no file can have such a name")
    return file


def with_name(file: str, result: Result) -> Result:
    """Give what has no name to the client its name, also in what is wrong with it."""
    if isinstance(result.picture, str):
        return result
    return replace(result, picture=file, error=result.error and about(file, result.error))
