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
# # Associated Learning, component by component
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/al-jax/al_jax/blob/main/notebooks/01_associated_learning.ipynb)
#
# Associated Learning ([Kao and Chen, 2021](https://arxiv.org/abs/1906.05560)) cuts a network into
# components. Each of them trains on losses of its own, and no gradient passes from one to another. All
# components can therefore train at the same time, each on a different micro-batch (a small batch of images).
#
# This notebook builds one component by hand, chains four of them, trains the chain on one device and on
# four, and checks that both runs end with the same parameters, bit for bit. It ends with a component that
# follows a rule of your own. It runs on a CPU in less than two minutes.

# %% tags=["skip-execution"]
# %pip install -q "al_jax @ git+https://github.com/al-jax/al_jax"

# %%
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import al_jax as al
from al_jax import data, schedule
from al_jax.engines import exact
from al_jax.training.digest import digest

# %matplotlib inline

# %% [markdown]
# Three settings must be made before JAX computes anything. Section 4 compares one device with four, bit for
# bit. So we ask the compiler for code that rounds in the same way in every program (`exact.request`), and JAX
# for four CPU devices. A GPU is not used, even if there is one. To run this cell again, restart the runtime
# first.

# %%
exact.request()
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)

# %%
SMOKE = bool(os.environ.get("AL_JAX_SMOKE"))  # set where the notebook is tested: the same cells, fewer epochs
EPOCHS = 3 if SMOKE else 30
BATCH = 32

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
COLOURS = plt.colormaps["viridis"]([0.0, 0.35, 0.62, 0.85])  # one for each component

# %% [markdown]
# ## 1. Backward locking
#
# Backpropagation computes the gradient of one loss at the top. A layer cannot be updated until the
# micro-batch has gone all the way up and its gradient has come down again. This is *backward locking*: cut
# the network over four devices, and at any time three of them wait.
#
# GPipe ([Huang et al., 2019](https://arxiv.org/abs/1811.06965)) shortens the wait. It sends several
# micro-batches up, one after another, then all their gradients down, and only then updates. The devices
# still idle while this pipeline fills and drains, once for every update.
#
# In Associated Learning a component finishes its forward pass, its losses, its backward pass and its update
# without hearing from the components above. It then hands its signal up and takes the next micro-batch. The
# pipeline fills once and drains once in a whole run.

# %%
schedule.figure(
    {
        "Backpropagation": schedule.backprop(components=4, devices=4, micro_batches=8),
        "GPipe": schedule.gpipe(components=4, devices=4, micro_batches=8, per_update=4),
        "Associated Learning": schedule.associated(components=4, devices=4, micro_batches=8),
    }
)

# %% [markdown]
# The picture counts a backward pass as two forward passes. It leaves out the optimizer, communication, and
# the layers that Associated Learning adds (bridges and autoencoders, see section 2). How much these cost
# depends on the network, and only a measurement on real devices tells what remains of the gain.

# %% [markdown]
# ## 2. One component by hand
#
# Component $i$ receives two things from below: features $s_{i-1}$, which come from the image, and a code
# $t_{i-1}$, which comes from the label. At the bottom $s_0$ is the image and $t_0$ the label as a one-hot
# vector. The component has four parts: layers $f_i$ that compute the next features, an encoder $g_i$ that
# computes the next code, a *bridge* $b_i$ that predicts this code from the features, and a decoder $h_i$ that
# recovers the code below from it,
#
# $$s_i = f_i(\bar s_{i-1}), \qquad t_i = g_i(\bar t_{i-1}), \qquad \hat t_i = b_i(s_i), \qquad
#   \tilde t_{i-1} = h_i(t_i),$$
#
# where a bar stops the gradient. It has two losses, means over the micro-batch and over units:
#
# $$\ell_i^{\text{associated}} = \operatorname{mean}\,(\hat t_i - \bar t_i)^2, \qquad
#   \ell_i^{\text{autoencoder}} = \operatorname{mean}\,(\tilde t_{i-1} - \bar t_{i-1})^2.$$
#
# The *associated loss* trains $f_i$ and $b_i$ to predict the code of the label from the image. The
# *autoencoder loss* trains $g_i$ and $h_i$, so that the code keeps what is needed to recover the label.
#
# The data are the 1797 handwritten digits of scikit-learn, 8 by 8 pixels, which need no download.

# %%
digits = data.load("digits")

figure, panels = plt.subplots(1, 10, figsize=(9, 1.2))
for panel, image, label in zip(panels, digits.train.image, digits.train.label, strict=False):
    panel.imshow(image[..., 0], cmap="gray_r")
    panel.set_title(label, fontsize=10)
    panel.axis("off")
print(len(digits.train.label), "training and", len(digits.test.label), "test images")

# %% [markdown]
# One micro-batch, as floats and flattened, is enough for this section.

# %%
indices = data.epoch_order(seed=0, epoch=0, examples=len(digits.train.label), batch_size=BATCH)
batch = data.gather(digits.train, indices[0])
image = data.unit_range()(batch["image"], None, True).reshape(BATCH, 64)
label = jnp.asarray(batch["label"])

# %% [markdown]
# The four parts are ordinary Flax layers.

# %%
f = nn.Sequential([nn.Dense(64), nn.elu])
b = nn.Sequential([nn.Dense(16), nn.sigmoid])
g = nn.Sequential([nn.Dense(16), nn.sigmoid])
h = nn.Sequential([nn.Dense(10), nn.sigmoid])

keys = jax.random.split(jax.random.key(0), 4)
variables = {
    "f": f.init(keys[0], jnp.zeros((1, 64))),
    "b": b.init(keys[1], jnp.zeros((1, 64))),
    "g": g.init(keys[2], jnp.zeros((1, 10))),
    "h": h.init(keys[3], jnp.zeros((1, 16))),
}

# %% [markdown]
# The losses take ten lines. The first `stop_gradient` keeps gradients away from the component below. The
# second keeps the associated loss away from $g_i$: otherwise it would be smallest for codes that are the
# same for every class.


# %%
def losses(variables, s_below, t_below):
    s_below, t_below = jax.lax.stop_gradient((s_below, t_below))
    s = f.apply(variables["f"], s_below)
    t = g.apply(variables["g"], t_below)
    predicted = b.apply(variables["b"], s)
    decoded = h.apply(variables["h"], t)
    return {
        "associated": jnp.mean((predicted - jax.lax.stop_gradient(t)) ** 2),
        "autoencoder": jnp.mean((decoded - t_below) ** 2),
    }


# %% [markdown]
# Which loss trains what? The gradient of each loss with respect to each part, and to what comes from below,
# must be zero in the right places: not small, but exactly zero.

# %%
one_hot = jax.nn.one_hot(label, 10)
gradients = jax.jit(jax.jacrev(losses, argnums=(0, 1, 2)))(variables, image, one_hot)

print(f"{'norm of the gradient':20}" + "".join(f"{name:>10}" for name in (*variables, "s below", "t below")))
for name, (parts, s_below, t_below) in gradients.items():
    norms = [optax.global_norm(tree) for tree in (*parts.values(), s_below, t_below)]
    print(f"{name:20}" + "".join(f"{'0' if norm == 0 else f'{norm:.1e}':>10}" for norm in norms))

# %% [markdown]
# `al.associated` makes the same component from the same layers. A component is in essence two pure functions,
# `init` and `apply`. `apply` takes the variables, the signal from below, a random key and a flag that is true
# in training. It returns the signal for the component above, the named losses and the new model state, such as
# batch statistics (here there are none). With the same parameters it computes the same losses.

# %%
component = al.associated([f], classes=10, code=16, bridge=b, encoder=g, decoder=h).components[0]
params = {name: part["params"] for name, part in variables.items()}
signal_up, named_losses, _ = component.apply(
    {"params": params}, {"image": image, "label": label}, jax.random.key(0), True
)

by_hand = losses(variables, image, one_hot)
for name in by_hand:
    print(f"{name:12} by hand {by_hand[name]:.6f}   al.associated {named_losses[name]:.6f}")
print("signal up   ", {name: x.shape for name, x in signal_up.items()})

# %% [markdown]
# ## 3. Four components
#
# In a chain, each component's features and code are the input of the next. Training uses every arrow in
# this picture. Inference knows no label, so it goes up the $f$'s, over the top bridge and down the $h$'s.
#
# ```
# image   s0 ──f1──▶ s1 ──f2──▶ s2 ──f3──▶ s3 ──f4──▶ s4
#                    │          │          │          │
#                    b1         b2         b3         b4
#                    ▼          ▼          ▼          ▼
# label   t0 ──g1──▶ t1 ──g2──▶ t2 ──g3──▶ t3 ──g4──▶ t4
#            ◀──h1──    ◀──h2──    ◀──h3──    ◀──h4──
# ```
#
# $$\hat y = h_1 \circ h_2 \circ h_3 \circ h_4 \circ b_4 \circ f_4 \circ f_3 \circ f_2 \circ f_1 (s_0)$$
#
# A backbone is a tuple of Flax blocks, and the rule folds each block into a component. The bridges,
# encoders and decoders are the paper's unless others are given, and as in the authors' code, the updates of $g$
# and $h$ are twice as large as those of $f$ and $b$.

# %%
blocks = al.networks.mlp([128] * 4)
network = al.associated(blocks, classes=10, code=32)

# %% [markdown]
# An engine decides where and when components train. From the network and an optax optimizer it makes a
# trainer. `al.sequential` trains on one device. `prepare` turns the uint8 images into floats inside the
# compiled step, and `exact` is for the comparison in section 4.

# %%
optimizer = optax.adam(1e-3)
sequential = al.sequential(network, optimizer, prepare=data.unit_range(), exact=True)


# %% [markdown]
# `trainer.step` trains on any number of micro-batches in one compiled call; here it gets one epoch at a
# time.


# %%
def epoch_batches(epoch):
    order = data.epoch_order(seed=0, epoch=epoch, examples=len(digits.train.label), batch_size=BATCH)
    return data.gather(digits.train, order)


# %% [markdown]
# After each epoch we take two measurements. The first is the test accuracy at every depth:
# `predict(depth=k)` uses the first $k$ components only. It goes up $f_1$ to $f_k$, over $b_k$ and down
# $h_k$ to $h_1$.


# %%
def accuracy(trainer, state, depth=None):
    scores = trainer.predict(state, digits.test.image, depth=depth)
    return np.mean(np.argmax(scores, axis=1) == digits.test.label)


# %% [markdown]
# The second is the variance of every code $t_0 \dots t_4$ between the ten classes, averaged over its units.
# A bridge or decoder that ignores its input can do no better than predict the mean code, and then its squared
# error is this variance. A code depends on the label alone, so blank images will do.


# %%
@jax.jit
def code_variances(components):
    codes, signal = [jnp.eye(10)], {"image": jnp.zeros((10, 8, 8, 1)), "label": jnp.arange(10)}
    for part, own in zip(network.components, components, strict=True):
        signal, _, _ = part.apply(own.variables, signal, jax.random.key(0), False)
        codes.append(signal["code"])
    return [code.var(axis=0).mean() for code in codes]


# %%
state = sequential.init(jax.random.key(0), batch)
history, by_depth, variances = [], [], []
for epoch in range(EPOCHS):
    state, metrics = sequential.step(state, epoch_batches(epoch))
    history.append(metrics.losses)
    by_depth.append([accuracy(sequential, state, depth) for depth in (1, 2, 3, 4)])
    variances.append(code_variances(sequential.components(state)))

print(f"test accuracy after {EPOCHS} epochs: {accuracy(sequential, state):.1%}")

# %% [markdown]
# The losses of every component come back by name, one number for each update. The plot shows them as faint
# lines, their mean over each epoch as a solid line, and the variance of the code that is to be predicted as a
# dashed line.

# %%
losses_of = jax.tree.map(lambda *epochs: np.concatenate(epochs), *history)
variance_of = np.transpose(variances)
updates = np.arange(len(losses_of[0]["associated"])).reshape(EPOCHS, -1)  # a row for each epoch

figure, rows = plt.subplots(2, 4, figsize=(9, 4.6), sharex=True, sharey=True, layout="constrained")
for row, name, below in zip(rows, ("associated", "autoencoder"), (0, 1), strict=True):
    for index, (panel, colour) in enumerate(zip(row, COLOURS, strict=True), start=1):
        loss, target = losses_of[index - 1][name], index - below
        panel.semilogy(loss, color=colour, alpha=0.2, linewidth=0.6)
        means = loss.reshape(EPOCHS, -1).mean(axis=1)
        panel.semilogy(updates.mean(axis=1), means, color=colour, label="loss")
        label = f"variance of $t_{target}$"
        panel.semilogy(updates[:, -1], variance_of[target], "--", color="0.3", linewidth=1, label=label)
        panel.set_ylim(2e-7, 1)
        panel.legend(loc="lower left", frameon=False, fontsize=8)
    row[0].set_ylabel(f"{name} loss\n(mean squared error)")
for index, (top, bottom) in enumerate(rows.T, start=1):
    top.set_title(f"component {index}", fontsize=10)
    bottom.set_xlabel("update")
plt.show()

# %% [markdown]
# The losses do not simply fall. At initialisation the codes of two classes differ less and less with every
# encoder they pass, so a constant predicts the upper codes almost perfectly, and the losses first fall
# towards its error. Meanwhile the autoencoders drive the codes apart. This makes the codes harder to
# predict, and the losses of the upper components rise with the variance. Where a loss lies well below the
# variance, its component tells the classes apart. A small loss alone says little: it must be read against
# the variance of its target.
#
# The test accuracy at each depth shows the same order. Depth 1 rises above chance (10 %) first and depth 4
# last, once the codes that its inference path decodes have moved apart. In the run that is stored here, the
# four end within three of the 360 test images of each other. In runs with the seeds 1 to 4, which are not
# stored, depth 4 ended between 96.7 % and 98.6 %.

# %%
figure, panel = plt.subplots(figsize=(6, 3.4), layout="constrained")
for depth, (own, colour) in enumerate(zip(np.transpose(by_depth), COLOURS, strict=True), start=1):
    panel.plot(np.arange(1, EPOCHS + 1), 100 * own, color=colour, label=f"{depth}, at the end {own[-1]:.1%}")
panel.axhline(10, color="0.7", linewidth=0.8, linestyle=":")
panel.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 102))
panel.legend(title="depth", frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# ## 4. The same network on four devices
#
# Update $u$ of component $i$ needs two things: the component's own parameters after $u - 1$ updates, and
# the signal that component $i - 1$ computed just before its own update $u$. A pipeline delivers exactly
# these. It needs no stale gradients and no second copy of the weights, and its result is that of sequential
# training. Not one bit may differ, and we check that.
#
# `al.pipelined` distributes the components over several devices, in contiguous blocks. Everything else stays
# the same.

# %%
devices = jax.devices()
pipelined = al.pipelined(network, optimizer, devices, prepare=data.unit_range(), exact=True)

pipelined_state = pipelined.init(jax.random.key(0), batch)
for epoch in range(EPOCHS):
    pipelined_state, _ = pipelined.step(pipelined_state, epoch_batches(epoch))

print("devices:", *devices)

# %% [markdown]
# `trainer.components` returns the whole training state of each component, in one form for all engines:
# parameters, other model state, optimizer state, the number of updates and the random key. In a pipeline it
# first finishes the work still in flight. `digest` is a SHA-256 over all of this except the key, so it tells
# whether the two runs arrived at the same place.

# %%
one_device = sequential.components(state)
four_devices = pipelined.components(pipelined_state)
print("one device:  ", digest(one_device))
print("four devices:", digest(four_devices))

same = jax.tree.leaves(jax.tree.map(np.array_equal, one_device, four_devices))
print(f"{sum(same)} of {len(same)} arrays are equal")
assert all(same)

# %% [markdown]
# `exact` costs speed, because it forbids the compiler some optimisations. Without it, the two engines do
# the same arithmetic but may round the last bit differently.
#
# ### Who worked on what, and when
#
# A tick is the time in which every device trains its components on one micro-batch. `metrics.updates` holds
# a row for each component and a column for each tick. An entry is the number of the update that the component
# did in this tick, counted from 0, or -1 if it had nothing to do. We start afresh with two calls
# of six micro-batches. The third call feeds none (`valid=0`), so it only finishes what is still in flight,
# as `trainer.flush` does.

# %%
first = {name: x[:6] for name, x in epoch_batches(0).items()}
second = {name: x[6:12] for name, x in epoch_batches(0).items()}

fresh = pipelined.init(jax.random.key(0), batch)
fresh, filling = pipelined.step(fresh, first)
fresh, running = pipelined.step(fresh, second)
fresh, draining = pipelined.step(fresh, second, valid=0)

updates = np.concatenate([metrics.updates for metrics in (filling, running, draining)], axis=1)
print(updates)

# %% [markdown]
# The three components above the first are one, two and three updates behind it. The second call finds the
# pipeline full, so the idle time at the start of the run (the *bubble*) is not repeated. Written as tasks of a
# schedule, these numbers can be compared with the computed schedule and drawn next to it. The picture counts
# micro-batches from 1.

# %%
recorded = schedule.observed(updates, partition=(1, 1, 1, 1))
computed = schedule.associated(components=4, devices=4, micro_batches=12)
assert set(recorded) == set(computed)

schedule.figure({"Computed schedule": computed, "Recorded in metrics.updates": recorded})

# %% [markdown]
# The record shows the order of the work, not how long it took. Four CPU devices in one process share the same
# processor cores, so this notebook says nothing about speed.

# %% [markdown]
# ## 5. A component of your own
#
# A component is any Flax (Linen) module that takes `(signal, train)` and returns the signal for the component
# above and a dict of losses. The signal is any tree of arrays; component 1 receives the batch itself. The
# engines never look inside, and `al.component` stops the gradient of what comes in, so every such module
# trains on its own and pipelines exactly.
#
# Here each component classifies its own features with a linear head, the greedy rule of [Belilovsky et al.
# (2020)](https://arxiv.org/abs/1901.08164) in its simplest form. It hands up the features and the label.


# %%
class Greedy(nn.Module):
    width: int

    def setup(self):
        self.layer = nn.Dense(self.width)
        self.head = nn.Dense(10)

    def features(self, x):
        return nn.relu(self.layer(x.reshape(len(x), -1)))

    def scores(self, x):
        return self.head(self.features(x))

    def __call__(self, signal, train):
        features = self.features(signal["image"])
        loss = al.cross_entropy(self.head(features), signal["label"])
        return {"image": features, "label": signal["label"]}, {"greedy": loss}


# %% [markdown]
# Training needs no more than this. Prediction also needs to know the path that inference takes through the
# components: here the features of all components, and the head of the last one.

# %%
modules = [Greedy(128), Greedy(128), Greedy(128)]


def predict(variables, images, depth=None):
    depth = depth or len(modules)
    for module, own in zip(modules[: depth - 1], variables[: depth - 1], strict=True):
        images = module.apply(own, images, method="features")
    return modules[depth - 1].apply(variables[depth - 1], images, method="scores")


own_network = al.compose([al.component(module) for module in modules], predict=predict)

# %% [markdown]
# The engines take it as they take a network of `al.associated`.

# %%
trainer = al.pipelined(own_network, optax.adam(1e-3), devices[:3], prepare=data.unit_range())
own_state = trainer.init(jax.random.key(0), batch)
for epoch in range(EPOCHS):
    own_state, own_metrics = trainer.step(own_state, epoch_batches(epoch))

for depth in (1, 2, 3):
    print(f"depth {depth}: test accuracy {accuracy(trainer, own_state, depth):.1%}")

# %% [markdown]
# The test set has 360 images, so one image is 0.3 points, and these are single runs on one seed. They show
# that the rules work, not which of them is better.

# %% [markdown]
# ## 6. Where next
#
# `python train.py --config=configs/digits.py` trains on these digits from the command line, with
# checkpoints, metrics, plots and a `summary.json` that contains the digest of the run. Every file in
# `configs/` is one experiment. The [README](https://github.com/al-jax/al_jax#readme) lists the networks,
# rules and data sets. `al.backprop(blocks, classes=10, code=32)` trains the same inference path end to end,
# as one single component, for comparison.
