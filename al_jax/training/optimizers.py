"""The optimizer of a configuration."""

import jax
import jax.numpy as jnp
import optax

from al_jax.training.config import Config

# The authors' steps: a tenth at 40, 60 and 80 % of the updates, half at 90 %.
STEPS = ((0.4, 0.1), (0.6, 0.1), (0.8, 0.1), (0.9, 0.5))


def build_optimizer(config: Config, updates: int) -> optax.GradientTransformation:
    """The optimizer of every component, its schedule stretched over a run of so many updates."""
    rate = config.learning_rate
    schedule = {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, updates),
        "steps": lambda: optax.piecewise_constant_schedule(rate, {int(updates * at): factor for at, factor in STEPS}),
    }[config.schedule]()
    if config.optimizer == "sgd":
        return optax.sgd(schedule, momentum=config.optimizer_momentum, nesterov=True)
    if config.epsilon_hat:
        return optax.chain(scale_by_adam_hat(epsilon=config.epsilon), optax.scale_by_learning_rate(schedule))
    return optax.adam(schedule, eps=config.epsilon)


def scale_by_adam_hat(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8) -> optax.GradientTransformation:
    """Adam as TensorFlow 1 computes it: epsilon is added before the correction of bias.

    It is the "epsilon hat" of Kingma & Ba (2015), section 2: early on it weighs `1 / sqrt(1 - b2^t)` times as much as
    in `optax.scale_by_adam`, 32 times at the first update.
    """

    def init(params):
        return optax.scale_by_adam(b1, b2).init(params)

    def update(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, updates)
        power = jnp.asarray(count, jnp.float32)
        correction = jnp.sqrt(1 - b2**power) / (1 - b1**power)
        scaled = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return scaled, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)
