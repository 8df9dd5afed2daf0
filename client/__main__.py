"""`python -m client`: the client commands of `digits`."""

from client.cli import app
from client.console import run

run(app)
