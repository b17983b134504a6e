"""The notebooks run from top to bottom as they are committed: no outputs, no functions, nothing left behind."""

import ast
import os

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

FOLDER = ROOT / "notebooks"
EMBED = "04_embed_the_runtime"
AGENTS = "05_agents_and_memory"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
CELL_LINES = 25
CELL_TIMEOUT_S = 300


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name):
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def python_of(cell):
    """The cell's source without IPython's own lines."""
    return "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))


@pytest.fixture
def environment(tmp_path, monkeypatch, bundle_folder):
    """Variables of the kernel: it writes its own files into a folder of the test, and opens a bundle that is there."""
    monkeypatch.setenv(
        "JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter")
    )  # read in this process, for the connection file
    shipped = ROOT / "models" / "default"
    bundle = shipped if (shipped / "manifest.json").is_file() else bundle_folder
    own = {"IPYTHONDIR": str(tmp_path / "ipython"), "POINTSMAN_BUNDLE": str(bundle), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


def execute(name, folder, environment):
    """Runs a copy of the notebook in a new kernel whose working directory is ``folder``; returns the copy."""
    book = read(name)
    client = NotebookClient(
        book, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    return book


def printed(book):
    return "".join(output.text for cell in book.cells for output in cell.get("outputs", []) if output.name == "stdout")


def test_the_five_notebooks_are_there():
    assert [name.partition("_")[0] for name in NAMES] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("name", NAMES)
def test_is_valid_and_committed_without_outputs(name):
    book = read(name)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    assert [cell.outputs for cell in code_cells(name)] == [[]] * len(code_cells(name))
    assert {cell.execution_count for cell in code_cells(name)} == {None}


@pytest.mark.parametrize("name", NAMES)
def test_defines_nothing_and_keeps_cells_small(name):
    for cell in code_cells(name):
        defined = [
            node.name
            for node in ast.walk(ast.parse(python_of(cell)))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        ]
        assert defined == [], "what a notebook needs lives in the packages, where it is tested"
        assert len(cell.source.splitlines()) <= CELL_LINES


@pytest.mark.parametrize("folder", [FOLDER, ROOT], ids=["notebooks", "root"])
def test_the_runtime_is_embedded(folder, environment):
    before = sorted(os.listdir(folder))
    text = printed(execute(EMBED, folder, environment))
    assert "cost-first" in text
    assert "disabled" in text
    assert sorted(os.listdir(folder)) == before


def test_agents_share_a_memory(environment):
    before = sorted(os.listdir(FOLDER))
    text = printed(execute(AGENTS, FOLDER, environment))
    assert "vision was told by 'coding: parse_invoice() keeps the total" in text
    assert "it goes into amount_due" in text
    assert "I cannot know the parser's field" in text, "without a memory"
    assert "for all $" in text
    assert sorted(os.listdir(FOLDER)) == before


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (EMBED, AGENTS)])
def test_runs_to_the_end(name, environment):
    before = sorted(os.listdir(FOLDER))
    book = execute(name, FOLDER, environment)
    assert [cell.execution_count for cell in book.cells if cell.cell_type == "code"] == list(
        range(1, len(code_cells(name)) + 1)
    )
    assert sorted(os.listdir(FOLDER)) == before
