"""Pre-trained codes: the autoencoders of Associated Learning, trained on the labels before the first image."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from al_jax.engines import sequential
from al_jax.rules import with_codes
from al_jax.training.build import build_codes
from al_jax.training.config import Config
from al_jax.types import ComponentState

CALL = 100  # updates in one compiled call


def pretrain(
    config: Config, classes: int, components: Sequence[ComponentState], key: jax.Array
) -> tuple[ComponentState, ...]:
    """Trains g and h of the components of one seed for `config.code_updates` updates on one example of each class."""
    trainer = sequential(build_codes(config, classes), optax.adam(config.code_learning_rate))
    labels = jnp.arange(classes, dtype=jnp.int32)
    batches = {"label": jnp.tile(labels, (CALL, 1))}
    state = trainer.init(key, {"label": labels})
    for start in range(0, config.code_updates, CALL):
        state, _ = trainer.step(state, batches, valid=min(CALL, config.code_updates - start))
    return with_codes(components, trainer.components(state))
