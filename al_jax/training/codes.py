"""Pre-trained codes: the autoencoders of Associated Learning, trained on the labels before the first image."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from al_jax.components import anytime_scores
from al_jax.engines import distributed, sequential
from al_jax.rules import with_codes
from al_jax.training.config import Config
from al_jax.training.networks import build_codes
from al_jax.types import ComponentState, Network, Variables

CALL = 100  # updates in one compiled call


def pretrain(
    config: Config,
    classes: int,
    seeds: Sequence[Sequence[ComponentState]],
    keys: Sequence[jax.Array],
    check: Callable[[], None] = lambda: None,
) -> list[tuple[ComponentState, ...]]:
    """Trains g and h for `config.code_updates` updates on one example of each class, and says whether they decode.

    The first process does, and all have its codes: those of another processor could differ in bits.

    Args:
      config: the fields.
      classes: of the labels.
      seeds: for each seed its components.
      keys: for each seed the key that its codes are drawn with.
      check: called now and then; it ends the work by raising.

    Returns:
      The components of each seed with trained g and h.
    """
    chain = build_codes(config, classes)
    trainer = sequential(chain, optax.adam(config.code_learning_rate))
    labels = jnp.arange(classes, dtype=jnp.int32)
    batches = {"label": jnp.tile(labels, (CALL, 1))}

    def trained(key: jax.Array) -> tuple[ComponentState, ...]:
        state = trainer.init(key, {"label": labels})
        for start in range(0, config.code_updates, CALL):
            check()
            state, _ = trainer.step(state, batches, valid=min(CALL, config.code_updates - start))
        codes = trainer.components(state)
        print(_verdict(decoded_shares(chain, [own.variables for own in codes], classes), config), flush=True)
        return codes

    return [
        with_codes(components, distributed.on_first(functools.partial(trained, key)))
        for components, key in zip(seeds, keys, strict=True)
    ]


def decoded_shares(chain: Network, variables: Sequence[Variables], classes: int) -> list[float]:
    """For the code of every component the share of classes that h_1 ∘ … ∘ h_k makes of t_k."""
    labels = jnp.arange(classes)
    return [float((scores.argmax(1) == labels).mean()) for scores in anytime_scores(chain, variables, labels)]


def _verdict(shares: Sequence[float], config: Config) -> str:
    """What a person should know of codes that will not change any more."""
    lacking = {f"t_{number}": f"{share:.0%}" for number, share in enumerate(shares, 1) if share < 1}
    if not lacking:
        return "The codes of all components decode to their classes."
    return (
        f"warning: of the codes {', '.join(lacking)} only {', '.join(lacking.values())} decode to their class, and no "
        f"prediction over them can be right on the others: raise config.code_updates, now {config.code_updates}"
    )
