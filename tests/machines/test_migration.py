"""The page for users of Zenkai names only what there is."""

import functools
import pkgutil
import re
from pathlib import Path

import pytest

from al_jax import machines

TEXT = (Path(__file__).parents[2] / "docs" / "zenkai.md").read_text()
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
OF_MACHINES = sorted(set(re.findall(r"\bal\.machines\.([\w.]*\w)", TEXT)))
OTHERS = sorted(set(re.findall(r"\bal_jax(?:\.\w+)+", TEXT)))


@pytest.mark.parametrize("name", OF_MACHINES)
def test_a_name_of_machines_exists(name):
    exported, *inside = name.split(".")
    assert exported in machines.__all__
    functools.reduce(getattr, inside, getattr(machines, exported))


@pytest.mark.parametrize("name", OTHERS)
def test_another_name_exists(name):
    assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_each_row_stands_once_and_has_every_column(section):
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len({row[0] for row in rows}) == len(rows)
