"""Losses become the same rows whatever the engine, and NaN is named."""

import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.training.errors import RunError
from al_jax.training.losses import LossLog, refuse_infinite
from al_jax.training.measures import part_of
from al_jax.types import ComponentState, Metrics


def measured(updates, *losses):
    return Metrics(np.asarray(updates), tuple({"loss": np.asarray(row, np.float32)} for row in losses))


def test_a_row_is_written_when_the_last_component_has_caught_up():
    log = LossLog(accumulate=1)
    log.expect(0, 2)
    assert log.add(measured([[0, 1], [-1, 0]], [1.0, 3.0], [np.nan, 5.0])) == []
    assert log.waiting
    log.expect(2, 4)
    rows = log.add(measured([[2, 3], [1, 2]], [7.0, 7.0], [6.0, 8.0]))
    assert rows == [(2, {"component_1/loss": 2.0, "component_2/loss": 5.5})]
    rows = log.add(measured([[-1, -1], [3, -1]], [np.nan, np.nan], [4.0, np.nan]))
    assert rows == [(4, {"component_1/loss": 7.0, "component_2/loss": 6.0})]
    assert not log.waiting


def test_the_micro_batches_of_an_update_are_averaged():
    log = LossLog(accumulate=2)
    log.expect(0, 1)
    assert log.add(measured([[0, 0]], [1.0, 2.0])) == [(1, {"component_1/loss": 1.5})]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_named_with_component_and_update(value):
    log = LossLog(accumulate=1, suffix=" of seed 3")
    log.expect(0, 2)
    with pytest.raises(RunError, match=r"'loss' of component 2 is (nan|inf) at update 1 of seed 3"):
        log.add(measured([[0, 1], [0, 1]], [1.0, 1.0], [1.0, value]))


def test_the_first_update_that_went_wrong_is_named_not_the_first_component():
    log = LossLog(accumulate=1)
    log.expect(0, 3)
    with pytest.raises(RunError, match="component 2 is nan at update 1"):
        log.add(measured([[0, 1, 2], [0, 1, 2]], [1.0, 1.0, np.nan], [1.0, np.nan, np.nan]))


def test_a_number_that_is_not_finite_is_named():
    state = ComponentState({"f": {"kernel": jnp.ones(3)}}, {}, (), jnp.int32(7), jnp.zeros(2, jnp.uint32))
    refuse_infinite([state], 7)
    broken = state._replace(params={"f": {"kernel": jnp.array([1, jnp.inf, 1])}})
    with pytest.raises(RunError, match="params/f/kernel of component 2 is not finite after update 7: start anew with"):
        refuse_infinite([state, broken], 7)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("component_12/associated", (12, "associated")),
        ("component_1/infopro_share", (1, "infopro_share")),
        ("component_1/component_2_associated", (2, "associated")),  # as al.leak calls it
    ],
)
def test_a_loss_is_known_by_its_component_and_kind(name, part):
    assert part_of(name) == part
