"""What the commands share: stdout for data, stderr for everything else, exit codes, and no traceback for the user."""

import os
import sys
from typing import TYPE_CHECKING

from client.errors import DigitsError

if TYPE_CHECKING:
    import typer

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


def note(message: str) -> None:
    """Print a line for the person at the terminal on stderr, where it cannot spoil piped data."""
    print(message, file=sys.stderr, flush=True)


def run(app: "typer.Typer") -> None:
    """Run a command and end the process: a foreseen failure is one line on stderr and its documented exit code.

    DIGITS_DEBUG=1 in the environment shows the traceback instead.
    """
    try:
        app()
    except DigitsError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our stdout has left: no noise
        sys.exit(1)
    except OSError as error:
        fail(
            f"{error.filename or 'system'}: {error.strerror or error}. Check the path, its permissions and free space."
        )


def fail(message: str, exit_code: int = 1) -> None:
    """Report a failure in one line and end the process."""
    if os.environ.get("DIGITS_DEBUG"):
        raise
    note(f"error: {' '.join(message.split())}")
    sys.exit(exit_code)
