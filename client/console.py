"""What the commands share: stdout for data, stderr for everything else, exit codes, and no traceback for the user."""

import atexit
import gc
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from client.errors import DigitsError

if TYPE_CHECKING:
    import typer

HELP_OPTIONS = ["-h", "--help"]
PIPED_WIDTH = 10_000
"""Columns of a table in a pipe, which has no width: whatever the table needs."""


def plain(text: str) -> str:
    """Keep a file's name or a server's message from sending commands to the terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def cell(text: str) -> Any:
    """Make a table's cell: a text on one line, in which rich takes no [brackets] for markup."""
    from rich.text import Text

    return Text(plain(text).replace("\n", "\ufffd"))


def shown(path: Path | str) -> str:
    """Write a path as a shell takes it, for a command to copy."""
    return shlex.quote(str(path))


def counted(count: int, noun: str) -> str:
    """Give a count with its noun: 1 file, 1,500 files."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def note(message: str) -> None:
    """Print a line for the person at the terminal on stderr, where it cannot spoil piped data.

    When nobody reads stderr any more (`digits serve 2>&1 | head -1`), or there is no room for them, the words are lost,
    but the server goes on. What is left of them in the buffer would fail again where a process is started or ends.
    """
    try:
        print(plain(message), file=sys.stderr, flush=True)
    except BrokenPipeError:
        _silence(sys.stderr)
    except OSError:
        sys.stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1, errors="backslashreplace")


def tables() -> Any:
    """Give what prints tables on stdout: as wide as the terminal, and in a pipe as they need."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def require(extra: str, *packages: str) -> None:
    """Raise DigitsError for the first package that is not there, with the extra that brings it."""
    for package in packages:
        if find_spec(package) is None:
            raise DigitsError(f"{package} is not installed. Run: pip install 'mnist-digits[{extra}]'")


def usable_cores() -> int:
    """Give how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(app: "typer.Typer") -> None:
    """Run a command and end the process: a foreseen failure is one line on stderr and its documented exit code.

    Wrong usage (2) and Ctrl-C (130) are Typer's own.
    DIGITS_DEBUG=1 in the environment shows the traceback instead of the line.
    """
    _fill_closed()
    _prepare_stdout(sys.stdout)
    atexit.register(gc.freeze)  # or the last search for garbage takes a tenth of a short command's time
    with failures_told():
        try:
            app(help_option_names=HELP_OPTIONS)
        finally:
            _flush()


@contextmanager
def failures_told(tell: Callable[[str], None] = note) -> Iterator[None]:
    """End the process at a foreseen failure, which is told in a line."""
    try:
        yield
    except DigitsError as error:
        fail(str(error), error.exit_code, tell)
    except BrokenPipeError:
        _silence(sys.stdout)  # its reader has left
        sys.exit(1)
    except KeyboardInterrupt:  # before Typer takes it
        sys.exit(130)
    except OSError as error:
        what = f"{error.filename or 'system'}: {error.strerror or error}"
        fail(f"{what}. Check the path, its permissions and free space.", tell=tell)


def _fill_closed() -> None:
    """Put the null device where stdin, stdout or stderr is closed (`>&-`), or the next file would take its number."""
    with suppress(OSError):  # a root without /dev
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115


def _prepare_stdout(out: Any) -> None:
    """Write as \\u… what its encoding lacks, and buffer lines also where PYTHONUNBUFFERED is set.

    What a write that fails leaves in the buffer fails again in `_flush`, which tells it.
    """
    out.reconfigure(errors="backslashreplace")
    if out.write_through:
        sys.stdout = open(out.fileno(), "w", 1, out.encoding, out.errors, closefd=False)  # noqa: SIM115


def _flush() -> None:
    """Write what stdout still holds while a failure of it can be told."""
    try:
        sys.stdout.flush()
    except OSError as error:
        error.filename = "stdout"
        _silence(sys.stdout)  # or Python tries again at its end to write what is left
        raise


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fail(message: str, exit_code: int = 1, tell: Callable[[str], None] = note) -> None:
    """Report a failure in one line, or for DIGITS_DEBUG with its traceback, and end the process."""
    debug = os.environ.get("DIGITS_DEBUG")
    tell(traceback.format_exc().rstrip() if debug else f"error: {' '.join(message.split())}")
    sys.exit(exit_code)
