"""Fill docs/scale.md's tables from docs/cluster.json and docs/cluster_work.json: `make readme`. A test compares.

The files are what benchmarks/cluster.py and benchmarks/cluster_work.py write with --out.
"""

import json
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
END = "<!-- end of figures -->"
NAMES = {"embedded": "`digits serve`", "cluster": "`digits serve --cluster`", "cluster, usual": "the usual Ray replica"}
USUAL = "cluster, usual"
WORKS = {"train": "`digits train A B C --epochs {epochs}`", "classify": "`digits classify`, {files:,} files"}

Runs = list[dict[str, Any]]


def filled(page: str) -> str:
    """Give the page's text with a table for each JSON file, between its markers."""
    for name, to_markdown in (("cluster", serving), ("cluster_work", work)):
        begin = f"<!-- figures of {name}.json: make readme -->"
        before, _, rest = page.partition(begin)
        table = to_markdown(json.loads((HERE / f"{name}.json").read_text()))
        page = f"{before}{begin}\n{table}\n{END}{rest.partition(END)[2]}"
    return page


def serving(document: dict[str, Any]) -> str:
    """Render the medians over the rounds: a row for each load and server."""
    runs: Runs = document["runs"]
    cases = dict.fromkeys((run["images"], run["in_flight"]) for run in runs)
    rows = []
    for case in cases:
        of_case = {
            server: [run for run in runs if (run["server"], run["images"], run["in_flight"]) == (server, *case)]
            for server in NAMES
        }
        usual = median(of_case[USUAL], "requests_per_core_s")
        for server, name in NAMES.items():
            rates = [median(of_case[server], figure) for figure in ("requests_per_s", "requests_per_core_s")]
            rows.append([name, *map(str, case), *(f"{rate:,.0f}" for rate in rates), f"{rates[1] / usual:.1f} ×"])
    return table(["server", "images a request", "in flight", "requests/s", "a core second", "the usual replica"], rows)


def work(document: dict[str, Any]) -> str:
    """Render the median seconds: a row for each command."""
    rows = []
    for name, command in WORKS.items():
        seconds = [
            median([run for run in document["runs"] if (run["work"], run["where"]) == (name, where)], "seconds")
            for where in ("machine", "cluster")
        ]
        rows.append([command.format(**document), *(f"{figure:,.0f} s" for figure in seconds)])
    return table(["command", "one machine", f"{document['nodes']} nodes on that machine"], rows)


def median(runs: Runs, figure: str) -> float:
    """Give the median of a figure over the rounds."""
    return statistics.median(run[figure] for run in runs)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Render a table of Markdown, with figures to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    path = HERE / "scale.md"
    path.write_text(filled(path.read_text()))
