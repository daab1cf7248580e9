"""The optimizer of a configuration."""

import jax
import jax.numpy as jnp
import optax

from al_jax.training.config import Config
from al_jax.training.derived import epochs_of_layers

# The authors' steps: a tenth at 40, 60 and 80 % of the updates, half at 90 %.
STEPS = ((0.4, 0.1), (0.6, 0.1), (0.8, 0.1), (0.9, 0.5))
WARM_UP_FROM = 0.01  # learning rate, where it is not smaller


def build_optimizer(config: Config, updates: int) -> optax.GradientTransformation:
    """The optimizer of every component, its schedule stretched over a run of so many updates."""
    schedule = build_schedule(config, updates)
    if config.optimizer == "sgd":
        sgd = optax.sgd(schedule, momentum=config.optimizer_momentum, nesterov=True)
        return optax.chain(optax.add_decayed_weights(config.weight_decay), sgd) if config.weight_decay else sgd
    scale = scale_by_adam_hat(epsilon=config.epsilon) if config.epsilon_hat else optax.scale_by_adam(eps=config.epsilon)
    decay = [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
    return optax.chain(scale, *decay, optax.scale_by_learning_rate(schedule))


def steps_in_run(config: Config, updates_per_epoch: int) -> int:
    """The steps that an optimizer takes from beginning to end, which is what its schedule counts.

    One that steps several times in an update takes more, one of layers that rest in alternate epochs fewer.
    """
    return epochs_of_layers(config) * updates_per_epoch * config.upper_steps


def build_schedule(config: Config, updates: int) -> optax.Schedule:
    """The learning rate by the number of the update."""
    rate, epochs = config.learning_rate, epochs_of_layers(config)
    return {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, updates),
        "epoch_cosine": lambda: epoch_cosine(rate, epochs, max(1, updates // epochs), config.warmup_epochs),
        "steps": lambda: optax.piecewise_constant_schedule(rate, steps_at(updates)),
    }[config.schedule]()


def steps_at(updates: int) -> dict[int, float]:
    """Factors of the learning rate by the update after which each applies; in a short run one may stand for several."""
    found: dict[int, float] = {}
    for share, factor in STEPS:
        at = int(updates * share)
        found[at] = found.get(at, 1.0) * factor
    return found


def epoch_cosine(rate: float, epochs: int, updates_per_epoch: int, warmup_epochs: int = 0) -> optax.Schedule:
    """A cosine of the epoch's number from 1 to `epochs`, constant within an epoch and 0 in the last.

    Over the first epochs it is mixed with a rate of 0.01 at most, which alone counts in the first. InfoPro (Wang et al.
    2021) trains like this, with 10 of 160 epochs, and MAN.
    """

    def schedule(count):
        epoch = jnp.minimum(count // updates_per_epoch + 1, epochs)
        cosine = rate / 2 * (1 + jnp.cos(jnp.pi * epoch / epochs))
        share = jnp.clip((epoch - 1) / max(warmup_epochs, 1), 0, 1) if warmup_epochs else 1.0
        return share * cosine + (1 - share) * min(WARM_UP_FROM, rate)

    return schedule


def scale_by_adam_hat(epsilon: float = 1e-8) -> optax.GradientTransformation:
    """Adam as TensorFlow 1 computes it: epsilon is added before the correction of bias.

    It is the "epsilon hat" of Kingma & Ba (2015), section 2: early on it weighs `1 / sqrt(1 - b2^t)` times as much as
    in `optax.scale_by_adam`, 32 times at the first update.
    """

    b1, b2 = 0.9, 0.999

    def update(updates, state, params=None):
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, updates)
        power = jnp.asarray(count, jnp.float32)
        correction = jnp.sqrt(1 - b2**power) / (1 - b1**power)
        scaled = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return scaled, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update)
