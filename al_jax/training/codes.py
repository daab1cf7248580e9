"""Pre-trained codes: the autoencoders of Associated Learning, trained on the labels before the first image."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from al_jax.engines import sequential
from al_jax.rules import with_codes
from al_jax.training.config import Config
from al_jax.training.networks import build_codes
from al_jax.types import ComponentState

CALL = 100  # updates in one compiled call


def pretrain(
    config: Config,
    classes: int,
    seeds: Sequence[Sequence[ComponentState]],
    keys: Sequence[jax.Array],
    check: Callable[[], None] = lambda: None,
) -> list[tuple[ComponentState, ...]]:
    """Trains g and h for `config.code_updates` updates on one example of each class.

    Args:
      config: the fields.
      classes: of the labels.
      seeds: for each seed its components.
      keys: for each seed the key that its codes are drawn with.
      check: called now and then; it ends the work by raising.

    Returns:
      The components of each seed with trained g and h.
    """
    trainer = sequential(build_codes(config, classes), optax.adam(config.code_learning_rate))
    labels = jnp.arange(classes, dtype=jnp.int32)
    batches = {"label": jnp.tile(labels, (CALL, 1))}
    ready = []
    for components, key in zip(seeds, keys, strict=True):
        state = trainer.init(key, {"label": labels})
        for start in range(0, config.code_updates, CALL):
            check()
            state, _ = trainer.step(state, batches, valid=min(CALL, config.code_updates - start))
        ready.append(with_codes(components, trainer.components(state)))
    return ready
