"""What the README shows is what the project does."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/scale.md"])
def test_the_tables_are_those_of_the_json_files(page):
    filled = runpy.run_path(str(ROOT / "docs/tables.py"))["filled"]
    assert filled(page) == (ROOT / page).read_text(), "run: make readme"


def test_the_two_commands_are_at_the_top_and_exist():
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:60])
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in first_screen
        assert f"\n{target}: " in makefile
    assert "make test" in (ROOT / ".ci/run").read_text()
