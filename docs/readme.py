"""Fill README.md's results table from docs/results.json: `make readme`. A test fails where the two differ."""

import json
from pathlib import Path

from training.results import Result
from training.table import to_markdown

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: make readme -->", "<!-- end of results -->"


def filled(readme: str) -> str:
    """Give the README's text with the table of docs/results.json between its markers."""
    rows = [Result(**row) for row in json.loads((ROOT / "docs/results.json").read_text())]
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{to_markdown(rows)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text()))
