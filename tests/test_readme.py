"""What the README shows is what the project does."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_results_table_is_the_one_of_results_json():
    filled = runpy.run_path(str(ROOT / "docs/readme.py"))["filled"]
    readme = (ROOT / "README.md").read_text()
    assert filled(readme) == readme, "run: make readme"


def test_the_figures_about_scale_are_those_of_cluster_json():
    filled = runpy.run_path(str(ROOT / "docs/scale.py"))["filled"]
    page = (ROOT / "docs/scale.md").read_text()
    assert filled(page) == page, "run: make readme"


def test_the_two_commands_are_at_the_top_and_exist():
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:60])
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in first_screen
        assert f"\n{target}: " in makefile
    assert "make test" in (ROOT / ".ci/run").read_text()
