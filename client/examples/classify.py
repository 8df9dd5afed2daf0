"""Classify image files from an app: python client/examples/classify.py FILE... (DIGITS_SERVER: HOST:PORT)."""

import os
import sys

from client import Client, NoDigit

sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name may be no text

with Client(os.environ.get("DIGITS_SERVER", "127.0.0.1:8500")) as client:
    for result in client.stream(sys.argv[1:]):
        if result.prediction:
            print(f"{result.picture!s}: {result.prediction.digit} ({result.prediction.probability:.1%})")
        elif isinstance(result.error, NoDigit):
            print(f"{result.picture!s}: no digit")
        else:
            print(f"cannot read {result.error}", file=sys.stderr)
