"""Fill the tables of README.md and docs/scale.md from the JSON files of docs/: `make readme`. A test compares.

docs/cluster.json and docs/cluster_work.json are what benchmarks/cluster.py and benchmarks/cluster_work.py write with
--out.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from training.results import Result
from training.table import to_markdown

ROOT = Path(__file__).parent.parent
END = "<!-- end of figures -->"
NAMES = {"embedded": "`digits serve`", "cluster": "`digits serve --cluster`", "cluster, usual": "the usual Ray replica"}
USUAL = "cluster, usual"
WORKS = {"train": "`digits train A B C --epochs {epochs}`", "classify": "`digits classify`, {files:,} files"}

Runs = list[dict[str, Any]]


def filled(page: str) -> str:
    """Give a page's text with a table for each of its JSON files, between its markers."""
    text = (ROOT / page).read_text()
    for name, render in PAGES[page].items():
        begin = f"<!-- figures of {name}.json: make readme -->"
        before, _, rest = text.partition(begin)
        content = render(json.loads((ROOT / f"docs/{name}.json").read_text()))
        text = f"{before}{begin}\n{content}\n{END}{rest.partition(END)[2]}"
    return text


def results(rows: Runs) -> str:
    """Render the exercise's table."""
    return to_markdown([Result(**row) for row in rows])


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


PAGES = {"README.md": {"results": results}, "docs/scale.md": {"cluster": serving, "cluster_work": work}}

if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(filled(page))
