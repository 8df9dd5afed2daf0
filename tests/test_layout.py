"""The house keeps its walls: import arrows, light imports, generated files, documented commands."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {"client": {"client"}, "serving": {"client", "serving"}, "training": {"client", "serving", "training"}}


def imports_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_follow_the_arrows(package):
    for path in (ROOT / package).rglob("*.py"):
        assert imports_of(path) & set(ALLOWED) <= ALLOWED[package], path


def test_the_client_never_imports_tensorflow():
    for path in (ROOT / "client").rglob("*.py"):
        assert not imports_of(path) & {"tensorflow", "keras", "tensorflow_serving"}, path


def test_the_help_imports_nothing_heavy():
    heavy = ["tensorflow", "keras", "numpy", "PIL", "grpc", "google.protobuf", "ai_edge_litert", "uvicorn"]
    heavy += ["zarr", "matplotlib", "pydantic", "rich", "asyncio", "ray"]
    program = f"""
import atexit, digits, sys
atexit.register(lambda: print([name for name in {heavy} if name in sys.modules], file=sys.stderr))
digits.main()
"""
    finished = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "[]\n")


@pytest.mark.parametrize("command", [["serve"], ["train", "A"], ["classify", "x.png", "--out", "rows"]])
def test_without_ray_a_cluster_command_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    program = "import sys; sys.modules['ray'] = None; import digits; digits.main()"
    arguments = [sys.executable, "-c", program, *command, "--cluster", "auto"]
    finished = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
    hint = "error: ray is not installed. Run: pip install 'mnist-digits[cluster]'\n"
    assert (finished.returncode, finished.stdout, finished.stderr) == (1, "", hint)
    assert not [*tmp_path.iterdir()]


def test_every_benchmark_still_finds_what_it_imports() -> None:
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    program = "\n".join(f"import benchmarks.{name}" for name in names)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr


def test_the_generated_messages_are_up_to_date(tmp_path):
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "client/proto").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, *protos], cwd=ROOT, check=True)
    for path in (ROOT / "client/proto").glob("*_pb2.py*"):
        assert path.read_text() == (tmp_path / path.relative_to(ROOT)).read_text(), "run: make proto"


@pytest.mark.parametrize("package", ALLOWED)
def test_the_readme_tree_has_the_files_of_each_package(package):
    [tree] = re.findall(rf"^{package}/ .*\n((?:  .*\n)+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    files = {path.name for path in (ROOT / package).glob("*.py") if path.name[0] != "_"}
    assert {name for name in tree.split() if name.endswith(".py")} == files


def test_every_command_is_in_the_readme_and_has_an_example(digits):
    import typer.main

    from digits import app

    readme = (ROOT / "README.md").read_text()
    for name, command in typer.main.get_command(app).commands.items():
        assert f"digits {name}" in readme, name
        assert f"digits {name}" in command.help, f"{name}: no example in its help"


@pytest.mark.parametrize("name", ["train", "results", "serve", "versions", "promote", "rollback"])
def test_the_examples_of_a_command_stand_on_a_line_each(digits, name):
    text = digits(name, "--help").stdout
    assert len(re.findall(rf"^  digits {name}\b", text, re.MULTILINE)) > 1
    assert " | digits" not in " ".join(text.split())


def test_the_list_of_commands_cuts_no_sentence(digits):
    listed = digits("--help").stdout.partition("\nCommands:\n")[2]
    assert listed
    assert "..." not in listed


def test_the_version_is_the_changelogs_newest():
    from importlib.metadata import version

    released = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[1] == version("mnist-digits")


def test_version_names_the_runtimes_too(digits):
    from importlib.metadata import version

    finished = digits("--version")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith(f"digits {version('mnist-digits')} (Python 3.")
    assert f"tensorflow {version('tensorflow')}, keras {version('keras')}" in finished.stdout
