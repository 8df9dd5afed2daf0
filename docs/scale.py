"""Fill docs/scale.md's table from docs/cluster.json (benchmarks/cluster.py --out): `make readme`. A test compares."""

import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- figures: make readme -->", "<!-- end of figures -->"
NAMES = {"embedded": "`digits serve`", "cluster": "`digits serve --cluster`", "cluster, usual": "the usual Ray replica"}


def filled(page: str) -> str:
    """Give the page's text with the table of docs/cluster.json between its markers."""
    before, _, rest = page.partition(BEGIN)
    document = json.loads((HERE / "cluster.json").read_text())
    return f"{before}{BEGIN}\n{to_markdown(document['runs'])}\n{END}{rest.partition(END)[2]}"


def to_markdown(runs: list[dict[str, float | str]]) -> str:
    """Render the medians over the rounds: a row for each server and load."""
    lines = ["| server | images a request | in flight | requests/s | requests per core second |"]
    lines.append("| --- | --: | --: | --: | --: |")
    cases = dict.fromkeys((run["images"], run["in_flight"]) for run in runs)
    for images, in_flight in cases:
        for server, name in NAMES.items():
            chosen = [r for r in runs if (r["server"], r["images"], r["in_flight"]) == (server, images, in_flight)]
            rates = [
                statistics.median(float(r[key]) for r in chosen) for key in ("requests_per_s", "requests_per_core_s")
            ]
            lines.append(f"| {name} | {images} | {in_flight} | {rates[0]:,.0f} | {rates[1]:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    path = HERE / "scale.md"
    path.write_text(filled(path.read_text()))
