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
# # Pipelines: every component on a device of its own
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/al-jax/al_jax/blob/main/notebooks/05_pipelines.ipynb)
#
# Associated Learning ([Kao and Chen, 2021](https://arxiv.org/abs/1906.05560)) promises that n layers train on l
# mini-batches in O(n + l) steps, because no layer waits for a gradient from above. Its authors did not build the
# pipeline that this needs. Here it is. We go from one jitted update to a pipeline of several devices that gives the
# same bits, look at the schedule as it really ran, and see what happens when a process dies and why backpropagation
# cannot be pipelined this way.
# [The first notebook](https://github.com/al-jax/al_jax/blob/main/notebooks/01_associated_learning.ipynb) explains
# components and their losses.
#
# It runs on a CPU in about two minutes, on four devices that JAX makes of this one CPU. They share its cores, so
# nothing here measures speed; `python -m benchmarks.pipeline` does, with one process for each device, pinned to a
# core.

# %% tags=["skip-execution"]
# %pip install -q "al_jax @ git+https://github.com/al-jax/al_jax"
# !git clone -q --depth 1 https://github.com/al-jax/al_jax

# %%
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.flatten_util
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import al_jax as al
from al_jax import data, schedule
from al_jax.engines import exact
from al_jax.engines.messages import make_workers
from al_jax.engines.optimizers import optimizers_of
from al_jax.engines.update import Slices, hold
from al_jax.training.digest import digest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
exact.request()  # no fused multiply-add: before JAX starts
# %matplotlib inline

# %%
SMOKE = bool(os.environ.get("AL_JAX_SMOKE"))  # set where the notebook is tested: the same cells, fewer updates
ROOT = next(path for path in map(Path, (".", "..", "al_jax")) if (path / "train.py").is_file())

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
# For processes of their own: on the CPU, like this one, and without the colours that Jupyter asks for.
PLAIN = {name: value for name, value in os.environ.items() if "COLOR" not in name} | {"JAX_PLATFORMS": "cpu"}
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377")  # told apart by colour-blind readers too

digits = data.load("digits")
BATCH, UPDATES = 32, 12


def micro_batches(number, seed=0):
    """{"image": (number, B, 8, 8, 1), "label": (number, B)}"""
    order = data.epoch_order(seed, epoch=0, examples=digits.train.examples, batch_size=BATCH)
    return data.gather(digits.train, order[:number])


batches = micro_batches(UPDATES)
network = al.associated(al.networks.mlp([64, 48, 48, 32]), classes=10, code=32)
optimizer = optax.adam(1e-3)

# %% [markdown]
# ## 1. One update, jitted
#
# A component takes a signal from below, computes its losses and their gradient, lets its optimizer step, and hands a
# signal up. All of this is one pure function of the component and the signal, and nothing in it looks at another
# component. Four of them in a row are a whole update of the network.

# %%
prepared = al.compose(network.components)  # float images, so that nothing needs preparing
images = np.float32(batches["image"]) / 255
workers = make_workers(prepared, optimizers_of(prepared, optimizer), accumulate=1, slices=Slices())
work = [jax.jit(worker.work) for worker in workers]

sequential = al.sequential(network, optimizer, prepare=data.unit_range(), exact=True)
start = sequential.components(sequential.init(jax.random.key(0), {name: x[0] for name, x in batches.items()}))

signal_up = {"image": jnp.asarray(images[0]), "label": jnp.asarray(batches["label"][0])}
for number, (component, state) in enumerate(zip(work, start, strict=True), start=1):
    held, signal_up, losses = component(hold(state, accumulate=1), signal_up)
    shown = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(signal_up))
    print(f"component {number} after update {held.state.updates}: {shown}; hands up {shapes}")

# %% [markdown]
# ## 2. A mesh of stages
#
# Component 2 needs from component 1 only the signal that it computed *before* its own update. So component 1 may
# already work on the next micro-batch. `al.pipelined` puts blocks of components (*stages*) on devices, runs the same
# function on all of them under `shard_map`, and in every tick moves the signals one device up with `ppermute`. A tick
# is the time in which every device trains its stage on one micro-batch. Below, `(1, 1, 2)` stands for three stages of
# one, one and two components.


# %%
def train(trainer, *calls):
    state = trainer.place(start)
    for call in calls:
        state, _ = trainer.step(state, call)
    return trainer.components(state)  # drains the pipeline first


reference = digest(train(sequential, batches))
print("sequential        ", reference[:16])
for devices, partition in ((2, (2, 2)), (3, (1, 1, 2)), (4, (1, 1, 1, 1))):
    pipelined = al.pipelined(
        network, optimizer, jax.devices()[:devices], partition=partition, prepare=data.unit_range(), exact=True
    )
    found = digest(train(pipelined, batches))
    print(f"{devices} devices {partition!s:<13}{found[:16]}  {'the same bits' if found == reference else 'DIFFERENT'}")
    assert found == reference

# %% [markdown]
# The digest covers every parameter, the optimizer's moments and all counts. Under `exact`, which keeps the compiler
# from rounding differently in differently partitioned programs, it equals that of the sequential run.
#
# ## 3. The schedule, from the log of its ticks
#
# `metrics.updates` says for each component (row) and each tick (column) which update it worked on, counted from 0, and
# -1 where it had nothing to do. Drawn, that is the schedule: three ticks to fill, three to drain, and no device idle
# between them. Calls of `step` follow each other without a gap: the pipeline stays full from one to the next.

# %%
pipelined = al.pipelined(network, optimizer, jax.devices(), prepare=data.unit_range(), exact=True)
state, log = pipelined.place(start), []
for call in (micro_batches(6), micro_batches(6, seed=1)):
    state, metrics = pipelined.step(state, call)
    log.append(np.asarray(metrics.updates))
state, metrics = pipelined.step(state, call, valid=0)  # no new micro-batch: what is under way is finished
log = np.concatenate([*log, metrics.updates], axis=1)
print(log)

ran = schedule.observed(log, partition=(1, 1, 1, 1))
assert sorted(ran) == sorted(schedule.associated(components=4, devices=4, micro_batches=12))
schedule.figure({
    "Associated Learning, as it ran": ran,
    "GPipe with 4 micro-batches an update, as planned": schedule.gpipe(4, 4, 12, per_update=4),
})  # fmt: skip

# %% [markdown]
# GPipe ([Huang et al., 2019](https://arxiv.org/abs/1811.06965)), a pipeline for backpropagation, drains before every
# update, since a gradient has to come back through all stages before any weight may change. With local losses, the idle
# time of p - 1 ticks on p devices (the *bubble*) comes only where nothing may be in flight: at an evaluation or a
# checkpoint.
#
# ## 4. A process dies
#
# `python -m al_jax.launch` starts several processes that train one network, each with its share of the stages. When
# one is killed, the others cannot save: they hold only a part of the network, somewhere between two updates. So they
# report this and exit. The run then continues from its last checkpoint, on whatever devices are left. The cell below
# starts two processes, kills the second one after the first checkpoint, continues on one device, and compares the
# result with that of an undisturbed run. `saved` lists the updates that have checkpoints.


# %%
def command(workdir, engine="pipelined", devices=2):
    """train.py with a small network; every update is saved."""
    fields = {"components": 2, "width": 32, "code": 16, "epochs": 2 if SMOKE else 8, "updates_per_call": 8}
    fields |= {"checkpoint_seconds": 0, "exact": "true", "engine": engine, "devices": devices}
    return [*(f"--config.{name}={value}" for name, value in fields.items()), f"--workdir={workdir}"]


def one_process(workdir):
    words = [sys.executable, "train.py", *command(workdir, "sequential", 1)]
    subprocess.run(words, cwd=ROOT, env=PLAIN, check=True, capture_output=True)
    return json.loads((workdir / "summary.json").read_text())["digest"]


with tempfile.TemporaryDirectory() as folder:
    undisturbed, workdir = Path(folder, "undisturbed"), Path(folder, "killed")
    words = [sys.executable, "-m", "al_jax.launch", "--processes=2", f"--logs={folder}/logs", "--", *command(workdir)]
    group = subprocess.Popen(words, cwd=ROOT, env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while group.poll() is None and not list(workdir.glob("checkpoints/*/SHA256SUMS")):
        time.sleep(0.1)
    assert list(workdir.glob("checkpoints/*/SHA256SUMS")), group.communicate()[1]
    running = subprocess.run(["pgrep", "-P", str(group.pid)], capture_output=True, text=True).stdout.split()
    for second in running[1:2]:  # in the order of their start; none if the run, which is short, has ended before
        subprocess.run(["kill", "-KILL", second])
    said = group.communicate()[1].strip().replace(folder, "FOLDER").splitlines()
    print("launcher: ", *said[:1])
    left = [line for line in Path(folder, "logs", "process_0.log").read_text().splitlines() if "error" in line]
    print("process 0:", *left[-1:])
    print("saved:    ", *sorted((path.parent.name for path in workdir.glob("checkpoints/*/SHA256SUMS")), key=int))
    resumed, expected = one_process(workdir), one_process(undisturbed)

print(f"resumed on one device {resumed[:16]}, undisturbed {expected[:16]}")
assert resumed == expected

# %% [markdown]
# ## 5. Why backpropagation is not pipelined like this
#
# One could run backpropagation in the same ticks: every stage does the forward pass of one micro-batch and the
# backward pass of an older one, and updates at once. But by the time a gradient comes back down, the weights that
# made the forward pass have changed, in each stage by a different number of updates. The result mixes versions of the
# weights, and is not the gradient of any function. Let us build this mixture and look at the angle between it and the
# true gradient.
#
# The delay of a stage is twice the number of stages above it: that many updates lie between its forward and its
# backward pass on the same micro-batch.

# %%
WIDTHS = (64, 48, 48, 48, 48, 10)
STAGES = len(WIDTHS) - 1


def layer(stage, weights, x):
    kernel, bias = weights
    y = x @ kernel + bias
    return y if stage == STAGES - 1 else jax.nn.relu(y)


def forward(weights, x):
    """The inputs of every layer, and the scores."""
    inputs = []
    for stage in range(STAGES):
        inputs.append(x)
        x = layer(stage, weights[stage], x)
    return inputs, x


def backward(weights, inputs, scores, labels):
    """Gradients by these weights, at activations that other weights may have made."""
    down = jax.nn.softmax(scores) - jax.nn.one_hot(labels, 10)
    down, gradients = down / len(labels), [None] * STAGES
    for stage in reversed(range(STAGES)):
        _, pull = jax.vjp(lambda w, x, stage=stage: layer(stage, w, x), weights[stage], inputs[stage])
        gradients[stage], down = pull(down)
    return gradients


@jax.jit
def mixed_step(weights, history, image, label):
    """Stage k's backward pass sees activations made by its weights of 2 (p - 1 - k) updates ago.

    Returns the mixture, and the degrees between it and the true gradient.
    """
    made = [history[2 * (STAGES - 1 - stage)][stage] for stage in range(STAGES)]
    inputs, scores = forward(made, image)
    applied = backward(weights, inputs, scores, label)
    true = backward(weights, *forward(weights, image), label)
    applied_flat, true_flat = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (applied, true))
    cosine = applied_flat @ true_flat / (jnp.linalg.norm(applied_flat) * jnp.linalg.norm(true_flat))
    return applied, jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))


def run(delayed, rate, updates, seed=0):
    """Test accuracy at the end, and the angle to the true gradient in each update."""
    keys = jax.random.split(jax.random.key(seed), STAGES)
    weights = [
        (jax.random.normal(key, (rows, columns)) * jnp.sqrt(2 / rows), jnp.zeros(columns))
        for key, rows, columns in zip(keys, WIDTHS, WIDTHS[1:], strict=False)
    ]
    history, angles = [weights] * (2 * STAGES), []
    for update in range(updates):
        rng = np.random.default_rng((seed, update))
        chosen = rng.integers(0, digits.train.examples, BATCH)
        image = jnp.asarray(digits.train.image[chosen].reshape(BATCH, -1) / 255, jnp.float32)
        versions = history if delayed else [weights] * len(history)
        applied, degrees = mixed_step(weights, versions, image, digits.train.label[chosen])
        angles.append(float(degrees))
        weights = jax.tree.map(lambda w, g: w - rate * g, weights, applied)
        history = [weights, *history[:-1]]
    _, scores = forward(weights, jnp.asarray(digits.test.image.reshape(-1, 64) / 255, jnp.float32))
    return float((scores.argmax(1) == digits.test.label).mean()), angles


# %%
updates = 60 if SMOKE else 600
rates = (0.01, 0.1) if SMOKE else (0.003, 0.01, 0.03, 0.1, 0.3)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
reached = {delayed: [] for delayed in (False, True)}
for rate, colour in zip(rates, COLOURS, strict=False):
    for delayed in (False, True):
        accuracy, angles = run(delayed, rate, updates)
        reached[delayed].append(accuracy)
        if delayed:
            smooth = np.convolve(np.nan_to_num(angles, nan=90), np.ones(20) / 20, mode="valid")
            left.plot(smooth, color=colour, label=f"rate {rate:g}")
left.set(xlabel="update", ylabel="degrees", title="angle between the mixture and the gradient", ylim=(0, 130))
left.legend(frameon=False, fontsize=8)
for delayed, colour, label in ((False, COLOURS[0], "gradient"), (True, COLOURS[1], "mixed weight versions")):
    right.plot(rates, reached[delayed], "o-", color=colour, label=label)
right.set(xscale="log", xlabel="learning rate", title=f"test accuracy after {updates} updates", ylim=(0, 1))
right.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# At small learning rates the weights hardly move between the two passes, and the mixture is nearly the gradient. At
# rates where training is fast, the mixture goes wrong: in the stored run both reach about 89 % at a rate of 0.01, but
# at 0.1 the gradient reaches about 97 % and the mixture about 59 %, and at 0.3 the mixture stays at chance. (An angle
# of 0 at that rate is no success: the last ReLUs have died, and only the last bias still has a gradient.) There are
# remedies: PipeDream ([Harlap et al., 2018](https://arxiv.org/abs/1806.03377)) keeps a copy of the weights for every
# micro-batch that is under way, GPipe waits. Local losses need neither, because forward pass, loss, backward pass and
# update of a component are one piece of work in one tick.
#
# To go on: `python -m al_jax.plan` shows ahead of time how a network is cut into stages and what each needs.
# `python -m benchmarks.pipeline` measures this pipeline against backpropagation, GPipe and 1F1B (a schedule that needs
# less memory than GPipe), with a core for every device.
