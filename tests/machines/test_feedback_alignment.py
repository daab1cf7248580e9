"""Feedback alignment: true local gradients, errors that travel through B, and matrices that no optimizer moves."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines

KEY = jax.random.key(0)
KINDS = ["fixed_random", "uniform_sign", "batchwise_random_sign", "fixed_random_sign", "kolen_pollack"]


class Conv(nn.Module):
    """Two linear layers in one module, with batch norm and a stride."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.tanh(nn.BatchNorm(use_running_average=not train)(nn.Conv(5, (3, 3), strides=2)(x)))
        return nn.sigmoid(nn.Dense(3)(x.reshape(len(x), -1)))


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="upper")(nn.tanh(nn.Dense(7, name="lower")(x)))


MODULES = {
    "dense": (nn.Dense(4), (6, 5)),
    "norm": (machines.Layer(4, ("norm", nn.tanh)), (6, 5)),
    "two": (Two(), (6, 5)),
    "conv": (Conv(), (6, 5, 5, 2)),
}


def normal(shape, number):
    return np.random.default_rng(number).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def draw(machine, x):
    return machine.init(KEY, x)


def drawn(machine, x):
    """In numpy, whose operations need no compilation."""
    return jax.device_get(draw(machine, x))


@functools.partial(jax.jit, static_argnums=0, static_argnames="learn")
def passed(machine, state, x, key=KEY, learn=False, delta=None):
    """Gradients and delta below for a fixed delta at the output; or all that learning gives."""
    y, residuals = machine.forward(state.params, state.fixed, x, key, True)
    feedback = machines.Feedback.along(y, jnp.asarray(normal(y.shape, 9)) if delta is None else delta)
    context = machines.Context(None, None, jnp.int32(0), key)
    if learn:
        return machines.learn(machine, state, residuals, feedback, context)
    gradients, below, _ = machine.backward(state.params, state.fixed, residuals, feedback, context)
    return gradients, below.delta


def assert_close(found, wanted, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=atol), found, wanted)


def with_feedback(state, feedback):
    return state._replace(fixed={**state.fixed, "feedback": feedback})


@pytest.mark.parametrize("name", MODULES)
def test_with_weights_as_feedback_it_is_backpropagation(name):
    module, shape = MODULES[name]
    x = normal(shape, 1)
    aligned, plain = machines.feedback_alignment(module), machines.from_linen(module)
    state, expected = drawn(aligned, x), drawn(plain, x)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected.params)

    kernels = jax.tree.map(lambda _, kernel: kernel, state.fixed["feedback"], _kernels(state.params))
    wanted = passed(plain, expected, x)
    assert_close(passed(aligned, with_feedback(state, kernels), x), wanted)
    assert not np.allclose(passed(aligned, state, x)[1], wanted[1], atol=0.01)


def _kernels(params):
    return {
        name: _kernels(leaf) if isinstance(leaf, dict) else leaf
        for name, leaf in params.items()
        if name == "kernel" or (isinstance(leaf, dict) and "kernel" in leaf)
    }


def test_a_dense_layer_in_closed_form():
    """The step is -rate * x.T @ delta, and delta @ B.T goes down, with the derivative of tanh where it really was."""
    x, delta = normal((6, 5), 1), normal((6, 4), 9)
    machine = machines.feedback_alignment(machines.Layer(4, (nn.tanh,)), optax.sgd(0.5))
    state = drawn(machine, x)
    learned, below, _ = passed(machine, state, x, learn=True)
    kernel, bias = state.params["Dense_0"]["kernel"], state.params["Dense_0"]["bias"]
    delta = delta * (1 - np.tanh(x @ kernel + bias[None]) ** 2)
    assert_close(learned.params["Dense_0"], {"kernel": kernel - 0.5 * x.T @ delta, "bias": bias - 0.5 * delta.sum(0)})
    matrix = state.fixed["feedback"]["Dense_0"]["kernel"]
    assert_close(below.delta, delta @ matrix.T)
    assert_close(below.target, x - delta @ matrix.T)
    assert abs(np.corrcoef(matrix.ravel(), kernel.ravel())[0, 1]) < 0.9


def test_errors_pass_every_layer_of_a_module_by_its_own_matrix():
    x, delta = normal((6, 5), 1), normal((6, 4), 9)
    machine = machines.feedback_alignment(Two())
    state = drawn(machine, x)
    gradients, below = passed(machine, state, x)
    matrices, hidden = state.fixed["feedback"], np.tanh(x @ state.params["lower"]["kernel"])
    inner = (delta @ matrices["upper"]["kernel"].T) * (1 - hidden**2)
    assert_close(gradients["upper"]["kernel"], hidden.T @ delta)
    assert_close(gradients["lower"]["kernel"], x.T @ inner)
    assert_close(below, inner @ matrices["lower"]["kernel"].T)


def test_a_convolution_in_closed_form():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.tanh(nn.Conv(3, (3, 3), strides=2, name="conv")(x))

    x = normal((2, 5, 5, 2), 1)
    machine = machines.feedback_alignment(Layer())
    state = drawn(machine, x)

    @jax.jit
    def both(state):
        y, _ = machine.forward(state.params, state.fixed, x, KEY, True)
        turned = {**state.params["conv"], **state.fixed["feedback"]["conv"]}
        _, pull = jax.vjp(lambda x: nn.Conv(3, (3, 3), strides=2).apply({"params": turned}, x), x)
        return passed(machine, state, x)[1], pull(normal(y.shape, 9) * (1 - y**2))[0]

    assert_close(*both(state))


def matrix_of(machine, state, key=KEY):
    """B, which a dense layer of three units shows when it hands the identity down."""
    return np.asarray(passed(machine, state, np.zeros((3, 5), np.float32), key, delta=np.eye(3, dtype=np.float32))[1].T)


def test_kinds_of_matrices():
    x = np.zeros((3, 5), np.float32)
    made = {kind: machines.feedback_alignment(nn.Dense(3), kind=kind) for kind in KINDS}
    state = {kind: drawn(machine, x) for kind, machine in made.items()}
    first = {kind: matrix_of(made[kind], state[kind], KEY) for kind in KINDS}
    kernel = state["fixed_random"].params["kernel"]
    again = nn.Dense(3).init(jax.random.fold_in(KEY, 1), x)["params"]["kernel"]
    np.testing.assert_array_equal(first["fixed_random"], again)
    np.testing.assert_array_equal(first["kolen_pollack"], again)
    assert_close(first["uniform_sign"], np.sign(kernel) * np.sqrt(np.mean(kernel**2)))
    assert_close(first["fixed_random_sign"], np.sign(kernel) * np.abs(again))
    assert_close(first["batchwise_random_sign"], np.sign(kernel) * np.abs(again))

    # Other weights and another pass: signs follow the weights, magnitudes change with the pass in one kind alone.
    other = {kind: own._replace(params={**own.params, "kernel": -2 * kernel}) for kind, own in state.items()}
    for kind in KINDS:
        later = matrix_of(made[kind], other[kind], jax.random.key(5))
        np.testing.assert_array_equal(np.sign(later), np.sign(first[kind] if "sign" not in kind else -kernel))
        same_size = np.allclose(np.abs(later), np.abs(first[kind]), rtol=1e-6)
        assert same_size == (kind != "batchwise_random_sign")
    assert "feedback" not in state["batchwise_random_sign"].fixed


@pytest.mark.parametrize("kind", ["fixed_random", "uniform_sign", "fixed_random_sign"])
def test_matrices_outlive_weight_decay(kind):
    x = normal((6, 5), 1)
    machine = machines.feedback_alignment(
        machines.Layer(4, ("norm", nn.tanh)), optax.adamw(0.1, weight_decay=1), kind=kind
    )
    state = drawn(machine, x)
    step = lambda state: passed(machine, state, x, learn=True)[0]
    learned = jax.device_get(step(step(step(state))))
    jax.tree.map(np.testing.assert_array_equal, learned.fixed["feedback"], state.fixed["feedback"])
    assert not np.allclose(learned.params["Dense_0"]["kernel"], state.params["Dense_0"]["kernel"], atol=0.1)
    means = [s.fixed["batch_stats"]["After_0"]["BatchNorm_0"]["mean"] for s in (state, learned)]
    assert not np.array_equal(*means)


def test_kolen_and_pollack_bring_weights_and_feedback_together():
    x = normal((6, 5), 1)
    machine = machines.feedback_alignment(Two(), optax.adamw(0.01, weight_decay=0.5), kind="kolen_pollack", decay=0.1)
    state = drawn(machine, x)
    step = lambda state: passed(machine, state, x, learn=True)[0]
    learned = jax.device_get(step(step(step(state))))
    gradients, _ = passed(machine, state, x)
    one = jax.device_get(step(state))
    for layer in ("lower", "upper"):
        apart = [s.params[layer]["kernel"] - s.fixed["feedback"][layer]["kernel"] for s in (state, learned)]
        assert_close(apart[1], 0.9**3 * apart[0])
        kernel = state.params[layer]["kernel"]
        adamw = -0.01 * (np.sign(gradients[layer]["kernel"]) + 0.5 * kernel)
        assert_close(one.params[layer]["kernel"], kernel + adamw - 0.1 * kernel, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "module"),
    [("batchwise_random_sign", nn.Dense(3)), ("kolen_pollack", machines.Layer(3, ("norm", nn.tanh)))],
)
def test_compiled_as_it_runs_and_keys_together_as_apart(kind, module):
    x, keys = normal((6, 5), 1), jax.random.split(jax.random.key(3), 2)
    machine = machines.feedback_alignment(module, kind=kind)

    def run(state, key):
        state, below, _ = passed.__wrapped__(machine, state, x, key, learn=True)
        return state.params, state.fixed, below

    compiled, state = jax.jit(run), drawn(machine, x)
    one, again = compiled(state, keys[0]), compiled(state, keys[0])
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert_close(run(jax.tree.map(jnp.asarray, state), keys[0]), one, atol=1e-5)
    together = jax.jit(jax.vmap(run, (None, 0)))(state, keys)
    for index, own in enumerate((one, compiled(state, keys[1]))):
        assert_close(jax.tree.map(lambda leaf, index=index: leaf[index], together), own, atol=1e-5)


def test_outputs_have_the_true_derivative_and_differentiable_has_that_of_the_feedback():
    x = normal((6, 5), 1)
    machine = machines.feedback_alignment(Two())
    state = drawn(machine, x)
    layer = machines.differentiable(machine)

    @jax.jit
    def derivatives(state, x):
        delta = normal((6, 4), 9)
        true = jax.grad(lambda p: jnp.sum(delta * machine.forward(p, state.fixed, x, KEY, True)[0]))(state.params)
        plain = jax.grad(lambda p: jnp.sum(delta * Two().apply({"params": p}, x)))(state.params)
        aligned = jax.grad(lambda p: jnp.sum(delta * layer(p, state.fixed, x, KEY, True)))(state.params)
        return true, plain, aligned, passed(machine, state, x)[0]

    true, plain, aligned, gradients = derivatives(state, x)
    assert_close(true, plain)
    assert_close(aligned, gradients)
    assert not np.allclose(true["lower"]["kernel"], aligned["lower"]["kernel"], atol=0.01)


def test_half_precision_and_whole_numbers():
    machine = machines.feedback_alignment(nn.Dense(3, dtype=jnp.bfloat16))
    state = machine.init(KEY, normal((6, 5), 1))
    gradients, below = passed(machine, state, normal((6, 5), 1), delta=jnp.ones((6, 3), jnp.bfloat16))
    assert gradients["kernel"].dtype == below.dtype == jnp.float32
    machine = machines.feedback_alignment(nn.Dense(3, dtype=jnp.float32))
    pixels = np.arange(10, dtype=np.int32).reshape(2, 5)
    gradients, below = passed(machine, drawn(machine, pixels), pixels)
    assert gradients["kernel"].any()
    assert not below.any()


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.scan(
            lambda module, x, _: (nn.Dense(5)(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=2,
        )
        return layers(self, x, None)[0]


class Loose(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x) @ self.param("weights", nn.initializers.normal(), (3, 3))


def test_refusals():
    with pytest.raises(ValueError, match=r"'eye': no feedback alignment of kind 'sign', only batchwise_random_sign"):
        machines.feedback_alignment(nn.Dense(3), kind="sign", name="eye")
    with pytest.raises(ValueError, match="only kind='kolen_pollack' decays"):
        machines.feedback_alignment(nn.Dense(3), decay=0.1)
    with pytest.raises(ValueError, match="decay is 1"):
        machines.feedback_alignment(nn.Dense(3), kind="kolen_pollack", decay=1)
    x = normal((6, 5), 1)
    for module, why in [
        (nn.LayerNorm(), "has no dense or convolutional layer"),
        (Loose(), "weights in weights, outside of"),
        (Scanned(), "Dense_0 has kernels of its own for each step"),
    ]:
        with pytest.raises(ValueError, match=why):
            draw(machines.chain(machines.feedback_alignment(module)), x)
