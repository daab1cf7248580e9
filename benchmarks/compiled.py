"""Updates compiled ahead of time, and the bytes that they need."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import al_jax as al
from al_jax.engines.optimizers import optimizers_of
from al_jax.engines.sequential import make_run
from al_jax.engines.update import Held, drawing, hold


class Program(NamedTuple):
    """What `al.sequential` would run.

    Attributes:
      run: the compiled `(state, batches, valid) -> (state, metrics)`, which consumes its state.
      draw: `key -> state`.
      memory: bytes of `arguments` (parameters, optimizer state, batches) and of `temporaries`, of which activations are
        the most, in XLA's own accounting of the compiled program.
    """

    run: Callable[..., Any]
    draw: Callable[[jax.Array], tuple[Held, ...]]
    memory: Mapping[str, int]


def compile_updates(
    network: al.Network,
    optimizer: optax.GradientTransformation,
    image: jax.ShapeDtypeStruct,
    updates: int,
    options: Mapping[str, str] | None = None,
) -> Program:
    """Compiles so many updates for JAX's default device.

    Args:
      network: with its preparation of images.
      optimizer: of every component.
      image: one micro-batch of images.
      updates: in one call.
      options: for the compiler.
    """
    optimizers = optimizers_of(network, optimizer)
    draw = drawing(network, optimizers)
    batch = {"image": image, "label": jax.ShapeDtypeStruct(image.shape[:1], jnp.int32)}
    batches = {name: jax.ShapeDtypeStruct((updates, *x.shape), x.dtype) for name, x in batch.items()}

    def held(drawn):
        return tuple(hold(state, accumulate=1) for state in drawn)

    state = jax.eval_shape(lambda key: held(draw(key, batch)), jax.random.key(0))
    run = jax.jit(make_run(network, optimizers, shards=1, accumulate=1), donate_argnums=0)
    compiled = run.lower(state, batches, jax.ShapeDtypeStruct((), jnp.int32)).compile(options)
    analysis = compiled.memory_analysis()
    memory = {"arguments": analysis.argument_size_in_bytes, "temporaries": analysis.temp_size_in_bytes}
    return Program(compiled, lambda key: held(draw(key, batch)), memory)


def total(memory: Mapping[str, int]) -> int:
    return memory["arguments"] + memory["temporaries"]
