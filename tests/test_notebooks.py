"""The notebooks as they are stored; `AL_JAX_SMOKE=1 pytest --nbmake notebooks/*.ipynb` runs them."""

import re
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
BADGE = (
    "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/al-jax/al_jax/blob/main/notebooks/{})"
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:content|home|mnt|opt|private|root|tmp|usr|Users|var|work)/")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(path):
    return [output for cell in jupytext.read(path).cells for output in cell.get("outputs", [])]


def text_of(output):
    """All that an output says in words; pictures are left out."""
    words = [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join([output.get("text", ""), *words])


def test_each_notebook_has_a_twin():
    assert NOTEBOOKS
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in sorted(FOLDER.glob("*.py"))]


@each_notebook
def test_twins_have_the_same_cells(path):
    twins = [
        [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in jupytext.read(twin).cells]
        for twin in (path, path.with_suffix(".py"))
    ]
    assert twins[0] == twins[1], f"run `jupytext --sync {path.name}`"


@each_notebook
def test_opens_with_the_badge_and_installs_only_on_colab(path):
    first, install, *others = jupytext.read(path).cells
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert BADGE.format(path.name) in first.source
    assert install.source.startswith("%pip install -q")
    assert install.metadata["tags"] == ["skip-execution"]
    assert not install.outputs
    assert not any("%pip" in cell.source or cell.metadata.get("tags") for cell in others)


@each_notebook
def test_was_run_from_top_to_bottom(path):
    notebook = jupytext.read(path)
    run = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"][1:]
    assert run == list(range(1, len(run) + 1))
    assert notebook.metadata["kernelspec"]["name"] == "python3"


@each_notebook
def test_outputs_are_clean_and_light(path):
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        assert not MACHINE_PATH.search(text_of(output)), text_of(output)
    assert path.stat().st_size < 600_000
