"""What `import al_jax` offers: every public name is there, and says what it is."""

import importlib
import inspect
import subprocess
import sys

import pytest

import al_jax as al


@pytest.mark.parametrize(
    "module",
    ["al_jax", *(f"al_jax.{name}" for name in ("data", "engines", "machines", "networks", "rules", "schedule"))],
)
def test_public_names_exist_and_have_docstrings(module):
    found = importlib.import_module(module)
    silent = [name for name in found.__all__ if callable(own := getattr(found, name)) and not inspect.getdoc(own)]
    assert found.__all__
    assert not silent


def test_runs_are_loaded_by_what_is_imported_when_it_is_asked_for():
    code = "import al_jax, sys; assert 'orbax.checkpoint' not in sys.modules; assert al_jax.load.__module__"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_schedules_are_imported_when_they_are_asked_for():
    assert al.schedule.units(al.schedule.associated(3, 3, 5)) == 7  # the slides' 5 mini-batches and 3 components
    with pytest.raises(AttributeError, match="has no attribute 'scheduler'"):
        _ = al.scheduler
