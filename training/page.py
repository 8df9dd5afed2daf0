"""The report as one HTML file that asks for nothing from outside: its style and its pictures are inside."""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

from client.console import counted
from training.results import Result
from training.table import COLUMNS, WORDS

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Digits: report</title>
<style>
{style}</style>
</head>
<body>
<h1>Digits</h1>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Image:
    """A PNG file to show, with its title and what it shows in words."""

    path: Path
    title: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A headline, a line under it, and images."""

    title: str
    text: str
    images: list[Image]


def render(rows: list[Result], sections: list[Section]) -> str:
    """Render the whole page."""
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    body = [_summary(rows), _table(rows), *map(_section, sections)]
    return _PAGE.format(style=style, body="\n".join(body))


def _summary(rows: list[Result]) -> str:
    served = [row for row in rows if row.served]
    lines = [
        f"Model {row.model} is served: {row.accuracy:.2%} of MNIST's last 5,000 test images are read rightly "
        f"({counted(row.errors[0], 'error')}; {row.errors[1]} of all 10,000)."
        for row in served
    ]
    note = (
        "Models are chosen by the first 5,000 test images, as other hands and pages distort them (Distorted; as they "
        "are: Validation), and reported on the last 5,000. Published is the author's later run; Seeds the mean and "
        "standard deviation over the seeds and their number; Errors are of 5,000 and of all 10,000."
    )
    return "\n".join([*(f"<p>{escape(line)}</p>" for line in lines), f'<p class="soft">{note}</p>'])


def _table(rows: list[Result]) -> str:
    head = "".join(f"<th{_kind(name)}>{escape(name)}</th>" for name in COLUMNS)
    body = "\n".join(_row(row) for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row(row: Result) -> str:
    cells = [f'<td{_kind(name)} data-name="{escape(name)}">{escape(cell(row))}</td>' for name, cell in COLUMNS.items()]
    kind = ' class="served"' if row.served else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _kind(name: str) -> str:
    return ' class="text"' if name in WORDS else ""


def _section(section: Section) -> str:
    figures = "\n".join(map(_figure, section.images))
    text = f'<p class="soft">{escape(section.text)}</p>' if section.text else ""
    return f'<h2>{escape(section.title)}</h2>\n{text}\n<div class="pictures">\n{figures}\n</div>'


def _figure(image: Image) -> str:
    content = base64.b64encode(image.path.read_bytes()).decode()
    source = f"data:image/png;base64,{content}"
    return (
        f'<figure><figcaption>{escape(image.title)}</figcaption><img src="{source}" alt="{escape(image.alt)}"></figure>'
    )
