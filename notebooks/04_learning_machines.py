# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning machines: every layer with a rule of its own
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/al-jax/al_jax/blob/main/notebooks/04_learning_machines.ipynb)
#
# A *learning machine* is a layer with an update rule of its own, and with its own way to tell the layer below
# what that layer should have put out. The idea is that of Zenkai ([Short,
# 2023](https://arxiv.org/abs/2311.09663)), a framework for PyTorch. A network of such layers may contain layers
# that have no gradient, such as decision trees, or layers that may not use the weights of others to compute
# one.
#
# This notebook trains networks of layers that follow different rules, measures how far their updates are from
# the true gradient, mixes them with `jax.grad`, wires them into a graph, and ends with the experiments of
# Zenkai's paper. It runs on a CPU in about two minutes.

# %% tags=["skip-execution"]
# %pip install -q "al_jax @ git+https://github.com/al-jax/al_jax"
# !git clone -q --depth 1 https://github.com/al-jax/al_jax

# %%
import os
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Markdown, display

import al_jax as al
from al_jax import data, machines
from al_jax.analysis import machine_tables
from al_jax.machines.diagnostics import angle

# %matplotlib inline

# %%
SMOKE = bool(os.environ.get("AL_JAX_SMOKE"))  # set where the notebook is tested: the same cells, fewer epochs
SEEDS = 1 if SMOKE else 3
ROOT = next(path for path in map(Path, (".", "..", "al_jax")) if (path / "results").is_dir())

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377")  # told apart by colour-blind readers too

# %% [markdown]
# ## 1. One machine by hand
#
# A machine is a tuple of four pure functions. (Readers who know Zenkai: its `accumulate` and `step_x` are one
# `backward` here, and its `step` is `update`.)
#
# | function | gives |
# |---|---|
# | `init(key, x)` | the state: `params`; `fixed`, what no optimizer touches; `opt_state` |
# | `forward(params, fixed, x, key, train)` | the output, and `residuals`, what the other two need of this pass |
# | `backward(params, fixed, residuals, feedback, context)` | gradients, feedback for the layer below, metrics |
# | `update(state, residuals, gradients, context)` | the new state |
#
# `al.machines.from_linen` makes one of any Flax module. We let a single layer learn from one batch of the 1797
# handwritten digits of scikit-learn.

# %%
digits = data.load("digits")


def batches(epoch, size, seed=0):
    order = data.epoch_order(seed=seed, epoch=epoch, examples=len(digits.train.label), batch_size=size)
    return data.gather(digits.train, order)


first = {name: x[0] for name, x in batches(0, 32).items()}
image, label = data.unit_range()(first["image"], None, True).reshape(32, 64), jnp.asarray(first["label"])

layer = machines.from_linen(nn.Dense(10))
key = jax.random.key(0)
state = layer.init(key, image)
scores, residuals = layer.forward(state.params, state.fixed, image, key, True)

# %% [markdown]
# `Feedback` is what a machine is told about its output: `delta`, what should be subtracted from it, and
# `target`, what it should have been, so `target = output - delta`. At the top, `delta` is the gradient of the
# loss. `Context` is what all machines are told: the error at the network's output, the label, the number of the
# update and a random key.

# %%
error = jax.grad(al.cross_entropy)(scores, label)
feedback = machines.Feedback.along(scores, error)
context = machines.Context(error, label, jnp.int32(0), key)

gradients, below, _ = layer.backward(state.params, state.fixed, residuals, feedback, context)
learned = layer.update(state, residuals, gradients, context)

print("gradients      ", jax.tree.map(jnp.shape, gradients))
print("below.delta    ", below.delta.shape, " what to take away from the images")
after, _ = layer.forward(learned.params, learned.fixed, image, key, True)
print(f"loss            {al.cross_entropy(scores, label):.3f} before and {al.cross_entropy(after, label):.3f} after")

# %% [markdown]
# Most rules compute with `delta` alone, because a target is the difference of two larger numbers, in which a
# small error loses digits. So a `chain` of machines made by `from_linen` is backpropagation, up to rounding:

# %%
deep = machines.chain(*[machines.from_linen(machines.Layer(64)) for _ in range(8)], layer)
state = deep.init(key, image)


def loss(params):
    return al.cross_entropy(deep.forward(params, state.fixed, image, key, True)[0], label)


@jax.jit
def by_feedback(state):
    scores, residuals = deep.forward(state.params, state.fixed, image, key, True)
    error = jax.grad(al.cross_entropy)(scores, label)
    context = machines.Context(error, label, jnp.int32(0), key)
    return deep.backward(state.params, state.fixed, residuals, machines.Feedback.along(scores, error), context)[0]


found, true = by_feedback(state), jax.jit(jax.grad(loss))(state.params)
apart = optax.global_norm(jax.tree.map(jnp.subtract, found, true)) / optax.global_norm(true)
print(f"nine layers: the gradients differ by {apart:.1e} of their norm")

# %% [markdown]
# ## 2. Five rules in one network
#
# From the input upwards, every layer of this network has a different rule:
#
# | layer | moves along | hands down |
# |---|---|---|
# | 1, direct feedback alignment | the output's error times a fixed random matrix | nothing |
# | 2, difference target propagation | its feedback | target $x + g(t) - g(y)$; $g$ learns to undo the layer |
# | 3, least squares | its feedback | the change of its input that leaves least of the error for its length |
# | 4, feedback alignment | its feedback | the error through a fixed random matrix, not its weights |
# | 5, gradient | the gradient of the loss | the gradient at its input |
#
# "Its feedback" stands for the gradient of $\frac12|y - t|^2$, where $x$ is the layer's input, $y$ its output and
# $t$ its target. Layer 1 is told the error directly, and not what layer 2 hands down. Section 3 looks at what least
# squares asks for.

# %%
WIDTH, BATCH = 64, 32
adam = optax.adam(1e-3)
hidden = machines.Layer(WIDTH)  # a dense layer and ReLU

five_rules = machines.chain(
    machines.direct_feedback_alignment(hidden, adam, classes=10),
    machines.target_propagation(hidden, machines.Layer(WIDTH), adam, adam, difference=True, noise=0.1),
    machines.chain(machines.least_squares(WIDTH, adam, inputs=1e-2), machines.from_linen(machines.After((nn.relu,)))),
    machines.feedback_alignment(hidden, adam),
    machines.from_linen(nn.Dense(10), adam),
)
RULES = ("direct feedback alignment", "target propagation", "least squares", "feedback alignment", "gradient")
gradient = machines.chain(*[machines.from_linen(hidden, adam) for _ in range(4)], machines.from_linen(nn.Dense(10)))

# %% [markdown]
# `al.machines.trainer` has the interface of every trainer of this library: `init`, `step`, `predict`.
# `seeds=True` trains several networks at a time, one for each seed. `diagnose` adds measures of every update to
# the metrics.


# %%
def fit(machine, epochs, batch=BATCH, diagnose=None):
    """Test accuracies `(epochs, seeds)`, the trainer and its state, and each part's metrics `(seeds, updates)`."""
    trainer = machines.trainer(machine, prepare=data.unit_range(), diagnose=diagnose, seeds=True)
    state = trainer.init(jax.random.split(jax.random.key(1), SEEDS), {k: x[0] for k, x in batches(0, batch).items()})
    accuracies, history = [], []
    for epoch in range(epochs):
        of_seeds = [batches(epoch, batch, seed) for seed in range(SEEDS)]
        state, metrics = trainer.step(state, jax.tree.map(lambda *x: np.stack(x), *of_seeds))
        history.append(metrics.losses)
        accuracies.append(accuracy(trainer.predict(state, digits.test.image)))
    return np.array(accuracies), trainer, state, jax.tree.map(lambda *x: np.concatenate(x, axis=1), *history)


def accuracy(scores):
    return np.mean(np.argmax(scores, axis=-1) == digits.test.label, axis=-1)


def percent(accuracies):
    """Mean over seeds after the last epoch, and the extremes."""
    last = 100 * accuracies[-1]
    return f"{last.mean():.1f} % ({last.min():.1f} to {last.max():.1f})"


# %%
EPOCHS = 4 if SMOKE else 60
by_rules, _, _, measured = fit(five_rules, EPOCHS, diagnose=machines.diagnostics(five_rules))
by_gradient, *_ = fit(gradient, EPOCHS)


# %%
def curves(panel, named):
    """Test accuracies by epoch: every seed faintly, their mean as a line."""
    for (name, accuracies), colour in zip(named.items(), COLOURS, strict=False):
        epochs = np.arange(1, len(accuracies) + 1)
        panel.plot(epochs, 100 * accuracies, color=colour, alpha=0.25, linewidth=0.8)
        panel.plot(epochs, 100 * accuracies.mean(axis=1), color=colour, label=f"{name}: {percent(accuracies)}")
    panel.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 102))
    panel.legend(frameon=False, loc="lower right", title="at the end, mean (least to greatest)")


figure, panel = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
curves(panel, {"five rules": by_rules, "all by gradient": by_gradient})
plt.show()

# %% [markdown]
# How do layers learn from feedback that is not the gradient? `al.machines.diagnostics` measures angles. On the
# left is the angle between what moves a layer's parameters and the true gradient of the loss with respect to
# them. On the right is the angle between the `delta` which a layer hands down and the true gradient at its
# input. At 90° the two have nothing in common. Below 90°, a small step by the rule also lowers the loss.

# %%
MEASURES = {"angle": "update of the layer", "feedback_angle": "feedback to the layer below"}


def by_epoch(values):
    """Means over seeds and the updates of an epoch."""
    return values.mean(axis=0).reshape(EPOCHS, -1).mean(axis=1)


figure, panels = plt.subplots(1, 2, figsize=(9, 3.9), sharey=True, layout="constrained")
for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
    for number, (rule, part, colour) in enumerate(zip(RULES, measured, COLOURS, strict=True), start=1):
        if measure == "feedback_angle" and number == 1:
            continue  # it hands nothing down
        line, style = by_epoch(part[measure]), "--" if number == 5 else "-"
        panel.plot(np.arange(1, EPOCHS + 1), line, style, color=colour, label=f"{number}, {rule}")
    panel.axhline(90, color="0.7", linewidth=0.8, linestyle=":")
    panel.set(title=title, xlabel="epoch", ylim=(-3, 100), yticks=range(0, 91, 15))
panels[0].set_ylabel("angle to the true gradient (degrees)")
figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Layers 4 and 5 are told the true gradient, so their updates are at 0°. What layer 4 hands down is at 90° to
# the true gradient at first, as a random direction would be; in the run stored here, this angle falls to about
# 57°. Yet its feedback matrix never changes, nor does that of layer 1: it is the weights that turn until the
# feedback is useful. Feedback that has passed more than one rule is further from the gradient, about 73° below
# layer 3 and 78° below layer 2. This is enough: the network learns more slowly than by backpropagation and ends
# within a few images of it.
#
# ## 3. What a least-squares step does
#
# A dense layer with weights $W$ is told to subtract $d$ from its output. Which change does it ask of its input?
# A gradient step subtracts $\eta\,dW^\top$ from it. Least squares subtracts the $\delta x$ that minimises
#
# $$|\delta x\,W - d|^2 + \lambda\,|\delta x|^2.$$
#
# We take an untrained layer of 64 units with a ReLU and an output layer above it, and the error of one batch.
# `with_step` multiplies what a machine hands down, here by 32: the loss is a mean over 32 examples, and 32
# times its gradient is that of each example's own loss.

# %%
lower = machines.from_linen(machines.Layer(64, ()))
upper = machines.chain(machines.from_linen(machines.After((nn.relu,))), layer)
upper = machines.with_step(upper, 32.0)

state = lower.init(jax.random.key(1), image)
output, _ = lower.forward(state.params, state.fixed, image, key, True)
above = upper.init(jax.random.key(2), output)
scores, residuals = upper.forward(above.params, above.fixed, output, key, True)
error = jax.grad(al.cross_entropy)(scores, label)
_, wanted, _ = upper.backward(above.params, above.fixed, residuals, machines.Feedback.along(scores, error), context)


# %% [markdown]
# For each rule we measure two lengths: how far the input is asked to move, and how much of $d$ would remain.


# %%
def asked(machine):
    _, residuals = machine.forward(state.params, state.fixed, image, key, True)
    _, below, _ = machine.backward(state.params, state.fixed, residuals, wanted, context)
    moved, _ = lower.forward(state.params, state.fixed, image - below.delta, key, True)
    norm = jnp.linalg.norm
    return norm(below.delta) / norm(image), norm(moved - wanted.target) / norm(wanted.delta)


ridges, sizes, times = jnp.logspace(-4, 2, 61), jnp.linspace(0.01, 0.6, 60), jnp.array([3, 10, 30, 100])
by_least_squares = jax.jit(jax.vmap(lambda ridge: asked(machines.least_squares(64, inputs=ridge))))(ridges)
by_one_step = jax.jit(jax.vmap(lambda size: asked(machines.with_step(lower, size))))(sizes)
by_many = jax.jit(jax.vmap(lambda n: asked(machines.repeat_input(lower, n, optax.sgd(0.4)))))(times)

figure, panel = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
panel.plot(*by_least_squares, color=COLOURS[0], label=r"least squares, $\lambda$ from $10^2$ to $10^{-4}$")
panel.plot(*by_one_step, "--", color=COLOURS[1], label=r"one gradient step, $\eta$ from 0.01 to 0.6")
panel.plot(*by_many, "o", color=COLOURS[2], label=r"so many gradient steps with $\eta = 0.4$")
for count, x, y in zip(times, *by_many, strict=True):
    panel.annotate(count, (x, y), (5, 5), textcoords="offset points", color=COLOURS[2])
panel.set(xlabel=r"way of the input, $|\delta x|\,/\,|x|$", ylabel=r"what remains of $d$", ylim=(0, 1.05))
panel.legend(frameon=False)
plt.show()

# %% [markdown]
# The horizontal axis shows how far the input has to move, the vertical axis how much of $d$ is then left. Of
# all changes of a given length, those of least squares leave the least of $d$; $\lambda$ chooses the length.
# One gradient step cannot follow this curve. $W$ stretches some directions much more than others, and a step
# that is long enough for the weak ones overshoots in the strong ones. Many steps come close (the green numbers
# say how many), each at the price of a pass through the layer. Least squares solves one linear system, whose
# factorisation serves the whole batch. It can also ask for too much: with a small $\lambda$, the input would
# have to move further than its own length.
#
# ## 4. Machines and `jax.grad`
#
# `al.machines.differentiable` turns a machine into a function for `jax.grad`. `jax.grad` then gets what the
# machine's `backward` finds as the gradient of its parameters, and the `delta` that the machine hands down as
# the gradient at its input. Any optimizer may then train the machine and plain layers together. Here the middle
# one of three layers does feedback alignment.

# %%
first_layer, middle, last_layer = nn.Dense(WIDTH), machines.feedback_alignment(nn.Dense(WIDTH)), nn.Dense(10)
aligned = machines.differentiable(middle)

keys = jax.random.split(jax.random.key(3), 3)
drawn = middle.init(keys[1], jnp.zeros((1, WIDTH)))
params = {
    "first": first_layer.init(keys[0], image)["params"],
    "middle": drawn.params,
    "last": last_layer.init(keys[2], jnp.zeros((1, WIDTH)))["params"],
}


def plain(params, fixed, x, key, train):
    return nn.Dense(WIDTH).apply({"params": params}, x)


def objective(params, image, label, run):
    x = nn.relu(first_layer.apply({"params": params["first"]}, image))
    x = nn.relu(run(params["middle"], drawn.fixed, x, jax.random.key(0), True))
    return al.cross_entropy(last_layer.apply({"params": params["last"]}, x), label)


@jax.jit
def train(params, opt_state, image, label):
    image = data.unit_range()(image, None, True).reshape(len(image), -1)
    gradients, true = (jax.grad(objective)(params, image, label, run) for run in (aligned, plain))
    angles = {name: angle(gradients[name], true[name]) for name in params}
    changes, opt_state = adam.update(gradients, opt_state, params)
    return optax.apply_updates(params, changes), opt_state, angles


opt_state, angles = adam.init(params), []
for epoch in range(EPOCHS // 2):
    own = batches(epoch, BATCH)
    for image_batch, label_batch in zip(own["image"], own["label"], strict=True):
        params, opt_state, found = train(params, opt_state, image_batch, label_batch)
        angles.append(found)

for name in ("first", "middle", "last"):
    values = [found[name] for found in angles]
    print(f"{name:7} angle to the true gradient: {values[0]:5.1f}° in the first update, {values[-1]:5.1f}° in the last")

# %% [markdown]
# The rule changes what passes down through the middle layer, so only the first layer's gradient differs from the
# true one. It turns towards the true one in the course of training, which gives feedback alignment its name.
#
# The other way round, `from_linen` makes a machine of any module that `jax.grad` can differentiate, however deep
# it is. Here two convolutions lie below a layer that does feedback alignment; within the convolutions, errors
# travel by backpropagation.


# %%
class Convolutions(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.relu(nn.Conv(16, (3, 3))(x))


convolutional = machines.chain(
    machines.from_linen(Convolutions(), adam),
    machines.feedback_alignment(hidden, adam),
    machines.from_linen(nn.Dense(10), adam),
)
by_convolutions, *_ = fit(convolutional, EPOCHS // 4)
print(f"test accuracy, mean (least to greatest): {percent(by_convolutions)}")

# %% [markdown]
# ## 5. A graph of machines
#
# In a `graph`, every node names its inputs and where its target comes from: from the nodes that read its output
# (`"above"`), from one later node, from the label, or from the loss of the whole network. Here is a network
# that learns layer by layer: `lower` follows only `guess`, whose target is the label, and ignores what `upper`
# would want of it.
#
# ```
#            ┌──▶ guess ◀── label
#            │      ┊
# image ──▶ lower ◀┄┘
#            │
#            └──▶ upper ──▶ scores ◀── loss
# ```

# %%
nodes = {
    "lower": machines.Node(machines.from_linen(hidden, adam), target="guess"),
    "guess": machines.Node(machines.from_linen(nn.Dense(10), adam), inputs=("lower",), target="label"),
    "upper": machines.Node(machines.from_linen(hidden, adam), inputs=("lower",)),
    "scores": machines.Node(machines.from_linen(nn.Dense(10), adam), inputs=("upper",), target="loss"),
}
local = machines.graph(nodes)
accuracies, trainer, state, _ = fit(local, EPOCHS // 2)

# %% [markdown]
# A graph with another output has the same state, so we can also read the guess of the lower layer from the
# trained network.

# %%
guessing = machines.as_network(machines.graph(nodes, output="guess"))
variables = [part.variables for part in trainer.components(state)]
test_images = data.unit_range()(digits.test.image, None, False)
guesses = jax.jit(jax.vmap(guessing.predict, in_axes=(0, None)))(variables, test_images)
print("scores:", percent(accuracies))
print("guess: ", percent([accuracy(guesses)]))

# %% [markdown]
# On these digits one hidden layer is enough: the upper one adds nothing.

# %% [markdown]
# ## 6. Decision trees as layers
#
# A tree has no gradient, and no parameters that could be changed a little: an update grows it anew, for the inputs
# and targets of one batch. `tree_layer` and `tree_classifier` do this inside jit. As one batch is little to learn
# from, an `ensemble` keeps the trees of the last nine batches and answers with their mean. Every update replaces
# the oldest.
#
# **Trees below.** 32 regression trees look at the pixels, and a linear layer with batch norm classifies what
# they answer. `repeat_input` makes 40 gradient steps on the *input* of the linear layer. The result is what the
# trees should have answered, and so their target.


# %%
class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))


def summed_loss(scores, label):
    return len(label) * al.cross_entropy(scores, label)  # so that steps do not depend on the batch's size


MEMBERS = 9
trees = machines.tree_layer(32, depth=8, feedback=None, joint=True)
linear = machines.repeat_input(machines.from_linen(Linear(), adam), 40, optax.sgd(0.1), loss=summed_loss)
trees_below = machines.chain(machines.ensemble(trees, MEMBERS), linear)

# %% [markdown]
# **Trees above.** Dense layers compute features with noise, and nine trees classify them. No gradient leads
# from the trees to the features. `climbed` draws the features 16 times, each time with new noise. For each image
# it keeps the draw for which the trees give the right class the most votes, and makes it the target of the
# features (hill climbing).


# %%
class Features(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(128)(x.reshape(len(x), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(16)(x))
        return x + 0.5 * jax.random.normal(self.make_rng("dropout"), x.shape) if train else x


classifiers = machines.ensemble(machines.tree_classifier(10, depth=10, feedback=None), MEMBERS)
trees_above = machines.climbed(
    machines.from_linen(Features(), adam), classifiers, candidates=16, score=machines.label_rate
)

# %%
TREE_EPOCHS, TREE_BATCH = EPOCHS // 2, 256
by_trees_below, tree_trainer, tree_state, _ = fit(trees_below, TREE_EPOCHS, TREE_BATCH)
by_trees_above, _, _, climb = fit(trees_above, TREE_EPOCHS, TREE_BATCH)

# %% [markdown]
# The plot on the right shows what each of the nine tree layers of *trees below* reaches alone, a point for each
# seed. How votes become an answer is an argument of `ensemble`, so this needs no training: we take the same
# state and count only one vote.

# %%
variables = [part.variables for part in tree_trainer.components(tree_state)]


@jax.jit
@jax.vmap
def alone(member):
    only = machines.ensemble(trees, MEMBERS, aggregate=lambda votes, weights: votes[member])
    predict = machines.as_network(machines.chain(only, linear)).predict
    return jax.vmap(predict, in_axes=(0, None))(variables, test_images)


of_members = accuracy(alone(jnp.arange(MEMBERS)))  # from the oldest to the newest, for each seed

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), width_ratios=(3, 2), layout="constrained")
curves(left, {"trees below": by_trees_below, "trees above": by_trees_above})
for seed in range(SEEDS):
    right.plot(100 * of_members[:, seed], np.arange(MEMBERS), "o", color="0.5", label=None if seed else "one of them")
right.axvline(100 * by_trees_below[-1].mean(), color=COLOURS[0], label="all nine")
right.set(xlabel="test accuracy (%)", yticks=(0, MEMBERS - 1), yticklabels=("oldest", "newest"), xlim=(0, 102))
right.set_title("trees below: who votes", fontsize=10)
right.legend(frameon=False, loc="center left")
plt.show()

# %% [markdown]
# Trees grown on one batch know little, the mean of nine much more. (The linear layer was trained on that mean,
# which puts a single vote at a disadvantage.) All of them learn the same targets here. With `boost`, the newest
# corrects what the other eight get wrong. This needs larger batches than these; on MNIST it is worth about one
# percentage point (`decision_linear` below).
#
# ## 7. The experiments of the paper
#
# Zenkai's paper reports seven networks on MNIST, each trained once; here is an eighth, direct feedback alignment.
# `configs/machines.py` has a recipe for each (`python train.py --config=configs/machines.py:NAME`), and the table
# shows the test accuracies (%) that finished runs left in `results/`. `tuned` are longer runs, with a learning rate
# or other settings chosen on validation images.

# %%
display(Markdown(machine_tables.table_1(ROOT / "results")))

# %% [markdown]
# ## 8. From Zenkai to al_jax
#
# [`docs/zenkai.md`](https://github.com/al-jax/al_jax/blob/main/docs/zenkai.md) translates Zenkai's names to
# those here, and says what differs and what was left out. Its first table:

# %%
_, section, *_ = (ROOT / "docs" / "zenkai.md").read_text().split("\n## ")
display(Markdown(section.removeprefix("In short")))
