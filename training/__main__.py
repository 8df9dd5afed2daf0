"""`python -m training`: the training commands of `digits`."""

from client.console import run
from training.cli import app

run(app)
