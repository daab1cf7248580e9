"""Tables of learning machines hold what was measured, name configs that exist, and say where nothing was."""

import runpy
from pathlib import Path

import pytest
from support import write_result

from al_jax.analysis.machine_tables import DIFFERENCE, DIFFERS, LENET, TABLE_1, difference, lenet, table_1
from al_jax.analysis.results import CIFAR_10_NOTE
from al_jax.training.derived import units_of
from al_jax.training.errors import ConfigError
from al_jax.training.run import set_up
from al_jax.training.validation import validate

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "machines.py"


def test_accuracies_stand_beside_the_published_ones_with_their_effort(tmp_path):
    write_result(tmp_path / "machines_least_squares.json", 0.95, 0.96)
    (row,) = [row for row in table_1(tmp_path).splitlines() if "least_squares" in row]
    assert row == "| Least squares (`least_squares`) | 94.1 | 95.50 ± 0.71 %, 2 seeds, 5 epochs | not run |"
    assert table_1(tmp_path).endswith("Measured on a processor.")


def test_the_note_on_test_images_stands_where_cifar_10_was_measured(tmp_path):
    write_result(tmp_path / "machines_dtp.json", 0.98)
    assert CIFAR_10_NOTE not in difference(tmp_path) + lenet(tmp_path)
    write_result(tmp_path / "machines_dtp_cifar.json", 0.5)
    write_result(tmp_path / "machines_baseline_lenet.json", 0.5)
    assert difference(tmp_path).endswith(CIFAR_10_NOTE)
    assert lenet(tmp_path).endswith(CIFAR_10_NOTE)


def test_every_cell_without_a_result_says_so(tmp_path):
    assert table_1(tmp_path).count("not run") == 2 * len(TABLE_1)
    assert difference(tmp_path).count("not run") == len(DIFFERENCE)
    assert lenet(tmp_path).count("not run") == len(LENET)


def test_tables_say_what_differs_from_what_is_published(tmp_path):
    notes = [line for line in table_1(tmp_path).splitlines() if line.startswith("- ")]
    assert len(notes) == len(DIFFERS)
    for name in ("decision_linear", "target_propagation", "feedback_alignment", "neural_decision"):
        assert any(f"`{name}`" in note for note in notes)
    assert "biotorch's network is another" in lenet(tmp_path)


@pytest.fixture(scope="module")
def get_config():
    return runpy.run_path(str(CONFIG))["get_config"]


@pytest.mark.parametrize("variant", [*TABLE_1, *DIFFERENCE, *(f"{name},lenet" for name in LENET)])
def test_every_row_is_a_config(variant, get_config):
    validate(get_config(variant))


@pytest.mark.parametrize("variant", [*TABLE_1, *DIFFERENCE])
def test_every_row_of_a_dense_network_is_small_and_built_in_smoke(variant, get_config, tmp_path):
    config = get_config(f"{variant}:smoke")
    assert config.dataset == "digits"
    assert max(units_of(config)) <= 128
    set_up(config, tmp_path)


def test_a_lenet_has_no_smoke(get_config):
    with pytest.raises(ConfigError, match="too small for a LeNet: leave out lenet or smoke"):
        get_config("baseline,lenet,smoke")
