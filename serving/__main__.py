"""`python -m serving`: the serving commands of `digits`."""

from client.console import run
from serving.cli import app

run(app)
