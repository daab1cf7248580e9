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
# # Supervised local learning
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/al-jax/al_jax/blob/main/notebooks/03_local_learning.ipynb)
#
# A network is cut into components. Each of them learns from a small *auxiliary network* beside it, such as a classifier
# of its features, and no gradient crosses a cut. A component then needs its activations only while it is being
# updated, and need not wait for those above. The price is that a lower component learns what serves its own loss, not
# what the components above could use.
#
# This notebook trains networks by three such rules on the digits of scikit-learn, adds the Momentum Auxiliary Network
# (MAN) to them, compares them with end-to-end backpropagation over a few hundred updates, looks at memory and at what
# the components represent, and sets the tables of the MAN paper beside what was measured here. It takes a few minutes
# on a CPU. Digits are a toy problem: the plots show how to ask a question, but do not answer it for other data.

# %% tags=["skip-execution"]
# %pip install -q "al_jax @ git+https://github.com/al-jax/al_jax"
# !git clone -q --depth 1 https://github.com/al-jax/al_jax

# %%
import functools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Markdown, display
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, PercentFormatter

import al_jax as al
from al_jax import data
from al_jax.analysis import local_tables, pictures
from al_jax.analysis.blocks import block_outputs
from al_jax.analysis.cka import linear_cka
from al_jax.analysis.probes import probe_accuracies
from al_jax.chain import parameter_counts
from al_jax.components import with_prepare
from al_jax.engines import exact
from al_jax.networks.layers import HE
from al_jax.rules import AveragedClassifier, NoBridge, PooledClassifier
from al_jax.rules.momentum import AVERAGE
from al_jax.training.digest import digest
from al_jax.training.plots import COLOURS, finish

# %matplotlib inline

# %% [markdown]
# Some settings must be made before JAX computes anything. Section 8 compares one device with four, bit for bit, so we
# ask JAX for four CPU devices, and the compiler for code that rounds in the same way in every program. A GPU is not
# used.

# %%
exact.request()
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
# Every seed starts with `trainer.init`, which compiles each time it is called; with a cache, once for all seeds.
jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

# %%
SMOKE = bool(os.environ.get("AL_JAX_SMOKE"))  # set where the notebook is tested: the same cells, less to compile
COMPONENTS, EPOCHS, SEEDS, BATCH = (2, 1, 1, 32) if SMOKE else (4, 8, 3, 32)
RESULTS = next(path for path in map(Path, ("results", "../results", "al_jax/results")) if path.is_dir())

# %% [markdown]
# ## 1. Three rules
#
# A backbone is a tuple of Flax blocks that knows nothing of rules. Ours is four convolutions with batch norm, which
# compile fast. One call makes a network of the papers: `al.networks.resnet(32, cuts=16, standard=True)` is a ResNet-32
# in 16 components.

# %%
layer = functools.partial(al.networks.ConvLayer, norm=True, activation=nn.relu, style=HE)
layers = [layer(8), layer(8), layer(16, pool=True), layer(16)]
blocks = al.networks.cut(layers[:COMPONENTS], COMPONENTS)

# %% [markdown]
# Component $k$ computes $h_k = f_k(\bar h_{k-1})$, where the bar stops the gradient, hands $h_k$ up, and learns from a
# loss on $h_k$. The rules differ in this loss:
#
# - DGL ([Belilovsky et al. 2020](https://arxiv.org/abs/1901.08164)): cross-entropy of a classifier.
# - PredSim ([Nøkland & Eidnes 2019](https://arxiv.org/abs/1901.06656)): 1 % of that cross-entropy, and 99 % of the
#   squared error between two matrices. One says how similar the features of the images of a micro-batch are to each
#   other, the other how similar their labels are.
# - InfoPro ([Wang et al. 2021](https://arxiv.org/abs/2101.10832)): cross-entropy of a classifier, and the pixel-wise
#   cross-entropy between the image and a decoder's reconstruction of it. The second keeps what the components above
#   may need. The decoder's weight falls with depth.
#
# The top component has plain cross-entropy under all of them. By default, DGL and InfoPro have classifiers of their
# own, with convolutions and several dense layers. Here all three have PredSim's, one dense layer on averages over
# small windows, so that the rules differ in their losses only.

# %%
rules = {
    "DGL": functools.partial(al.greedy, head=AveragedClassifier),
    "PredSim": functools.partial(al.predsim, head=AveragedClassifier),
    # Weights of decoder and classifier, in the lowest component and in the highest but one.
    "InfoPro": functools.partial(al.infopro, head=AveragedClassifier, first=(5.0, 0.5), last=(0.5, 1.0)),
}
networks = {name: rule(blocks, classes=10) for name, rule in rules.items()}

# %% [markdown]
# Any of them can be combined with the Momentum Auxiliary Network, the subject of section 2. End-to-end backpropagation
# trains the same backbone as one component, under the classifier that the top component has in the other networks.
# `al.backprop` can put layers between the two; with `NoBridge` there are none.

# %%
networks |= {f"{name} + MAN": al.momentum(rule)(blocks, classes=10) for name, rule in rules.items()}
networks["end to end"] = al.backprop(
    blocks, classes=10, code=10, bridge=PooledClassifier, decoder=NoBridge(), head=NoBridge()
)
if SMOKE:
    networks = {name: networks[name] for name in ("DGL", "InfoPro", "DGL + MAN", "end to end")}

# %% [markdown]
# One engine, one optimizer and one schedule train them all. The learning rate was not tuned for any of them.

# %%
digits = data.load("digits")
examples = len(digits.train.label)
updates = EPOCHS * (examples // BATCH)
sgd = optax.sgd(optax.cosine_decay_schedule(0.05, updates), momentum=0.9, nesterov=True)
trainers = {name: al.sequential(network, sgd, prepare=data.unit_range()) for name, network in networks.items()}


def epoch_batches(seed, epoch):
    return data.gather(digits.train, data.epoch_order(seed, epoch, examples, BATCH))


def start(trainer, seed):
    return trainer.init(jax.random.key(seed), {name: x[0] for name, x in epoch_batches(seed, 0).items()})


# %% [markdown]
# Here are the losses of the first update, each multiplied by the weight that its rule gives it, and the number of
# parameters that auxiliary networks add to those of inference.

# %%
for name in ("DGL", *(name for name in networks if name in ("PredSim", "InfoPro"))):
    state, metrics = trainers[name].step(start(trainers[name], seed=0), epoch_batches(0, 0), valid=1)
    params = [part.params for part in trainers[name].components(state)]
    parameters, effective = parameter_counts(networks[name], params)
    print(f"{name}: {effective} parameters in inference, {parameters - effective} auxiliary")
    for number, losses in enumerate(metrics.losses, start=1):
        print(f"  component {number}", {kind: f"{loss[0]:.3f}" for kind, loss in losses.items()})

# %% [markdown]
# ## 2. The Momentum Auxiliary Network
#
# Components that never hear from above are short-sighted. MAN
# ([Su et al. 2024](https://arxiv.org/abs/2407.05623)) lets a little information through, as weights in place of
# gradients. Between the features $x$ of a component and its loss it puts
#
# $$y = \eta'(x) + \eta''(x),$$
#
# the sum of two branches, both shaped like the first layer of the next component. $\eta'$ is trained with the
# component; the paper calls it a bias. $\eta''$ is not trained: after every update its weights move a little towards
# those of the next component,
#
# $$\eta'' \leftarrow 0.995 \, \eta'' + 0.005 \, \theta_{\text{next}}.$$
#
# Gradients pass through $\eta''$ to $x$. What goes up is $x$, so inference with the whole network uses neither branch.
#
# In the library, η' is part of the parameters, and η'' of the model state, which no optimizer touches. `tell` is the
# function by which the component above hands its weights down.

# %%
network, trainer = networks["DGL + MAN"], trainers["DGL + MAN"]


def average_of(component):
    return component.model_state[AVERAGE]["branch"]["average"]


state = start(trainer, seed=0)
before = jax.device_get(trainer.components(state))
for name, tree in {
    "η' ": before[0].params["branch"],
    "η''": average_of(before[0]),
    "next": network.components[1].tell(before[1]),
}.items():
    print(f"{name:5}", jax.tree.map(np.shape, tree))

# %% [markdown]
# Which weights does η'' take in, those before the next component's update or those after it? One update tells.

# %%
state, _ = trainer.step(state, epoch_batches(0, 0), valid=1)
after = jax.device_get(trainer.components(state))


def largest_difference(told):
    expected = jax.tree.map(lambda own, above: 0.995 * own + 0.005 * above, average_of(before[0]), told)
    differences = jax.tree.map(lambda x, y: np.abs(x - y).max(), expected, average_of(after[0]))
    return max(jax.tree.leaves(differences))


for name, components in {"before": before, "after": after}.items():
    told = network.components[1].tell(components[1])
    print(f"with the weights {name:6} the update: {largest_difference(told):.0e} from the average")

# %% [markdown]
# Those before it, so the average is always one update behind. This is the authors' order, and it suits a pipeline:
# there, the component above works one micro-batch behind, so when its weights are needed they are exactly these
# (section 8).
#
# The average follows slowly. It starts from weights of its own, of which a share of $0.995^n$ is left after $n$
# updates. How far is it from the weights that it follows? We measure the distance in units of the norm of the next
# component's weights.


# %%
def distances(components):
    """Of each component's average from the next one's weights, in norms of these."""
    found = []
    for own, part, above in zip(components, network.components[1:], components[1:], strict=False):
        target = part.tell(above)
        difference = jax.tree.map(np.subtract, average_of(own), target)
        found.append(optax.global_norm(difference) / optax.global_norm(target))
    return found


state = start(trainer, seed=0)
watched = [distances(trainer.components(state))]
for epoch in range(EPOCHS):
    state, _ = trainer.step(state, epoch_batches(0, epoch))
    watched.append(distances(trainer.components(state)))

figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
places = np.linspace(0, updates, EPOCHS + 1)
for index, own in enumerate(np.transpose(watched)):
    label = f"component {index + 1}"
    axes.plot(places, own, color=COLOURS[index], marker="o", markersize=3, linewidth=1.2, label=label)
axes.plot(places, 0.995**places, color="0.6", linewidth=1, linestyle="--", label="left of the start, $0.995^n$")
axes.set(xlabel="update", ylabel="relative distance", ylim=(0, None))
finish(axes)
plt.show()

# %% [markdown]
# At the end, after 352 updates, 17 % of the start is left, and the distance is about 0.2: for most of the training the
# average was still partly random.
#
# Every part has a switch:
#
# | call | between features and loss |
# |---|---|
# | `al.momentum(rule)` | $\eta' + \eta''$ |
# | `al.momentum(rule, biases=0)` | the average η'' of the next component's weights alone |
# | `al.momentum(rule, average=False)` | the bias η' alone: a deeper auxiliary network, without those weights |
# | `al.momentum(rule, biases=2, average=False)` | two trained branches: as large as MAN, without those weights |
# | `al.momentum(rule, decay=0.0)` | the next component's weights, copied and not averaged |
# | `al.momentum(rule, decay=1.0)` | η' beside weights that stay as they were initialised |
# | `al.momentum(rule, depth=2)` | branches of two layers of the next component |
# | `al.momentum(rule, scaled=True)` | $s \, \eta' + (2 - s) \, \eta''$ with a trained $s$, as in MAN++ |
#
# The paper reports no number for the bias alone, and without one nobody can say what the average adds.

# %% [markdown]
# ## 3. A small comparison
#
# Every rule gets the same images in the same order, for the same number of updates. `predict(depth=k)` uses the first k
# components and the classifier of component k.


# %%
class Trained(NamedTuple):
    accuracies: np.ndarray  # (seeds, depths)
    components: list  # of each seed


def train(network, trainer):
    accuracies, components = [], []
    for seed in range(SEEDS):
        state = start(trainer, seed)
        for epoch in range(EPOCHS):
            state, _ = trainer.step(state, epoch_batches(seed, epoch))
        components.append(trainer.components(state))
        accuracies.append([accuracy(trainer, state, depth) for depth in network.depths])
    return Trained(np.array(accuracies), components)


def accuracy(trainer, state, depth):
    scores = trainer.predict(state, digits.test.image, depth=depth)
    return np.mean(np.argmax(scores, axis=1) == digits.test.label)


trained = {name: train(network, trainers[name]) for name, network in networks.items()}
print(f"{updates} updates of {BATCH} images, {SEEDS} seeds, {len(digits.test.label)} test images")

# %% [markdown]
# Points are means over seeds, bars reach from the lowest to the highest seed. The grey band is the same range for end
# to end, the line in it the mean. The top component has no auxiliary network, so the errors at full depth compare what
# the lower components have learned. Errors need not fall with depth: the lower classifiers see averages over windows,
# the top one sees global averages, and MAN puts a convolution in front of each auxiliary classifier.


# %%
def errors(run):
    return np.maximum(1 - run.accuracies, 0.5 / len(digits.test.label))  # none at all is drawn as half an image


def as_error(axis, ticks=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5)):
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def draw_end_to_end(axes):
    own = errors(trained["end to end"])
    axes.axhspan(own.min(), own.max(), color="0.85", linewidth=0, label="end to end")
    axes.axhline(own.mean(), color="0.6", linewidth=1)


figure, panels = plt.subplots(1, len(rules), figsize=(9, 3.2), sharey=True, layout="constrained")
depths = np.arange(1, COMPONENTS + 1)
for axes, name in zip(panels, rules, strict=True):
    draw_end_to_end(axes)
    for shift, kind, colour in ((-0.04, name, COLOURS[0]), (0.04, f"{name} + MAN", COLOURS[1])):
        if kind in trained:
            pictures.plot_seeds(axes, depths + shift, errors(trained[kind]), color=colour, label=kind)
    axes.set(title=name, xlabel="components used", xticks=depths)
    as_error(axes.yaxis)
    finish(axes)
panels[0].set(ylabel="test error", ylim=(0.004, 0.5))
plt.show()

# %% [markdown]
# In the run that is stored here, every local rule has a higher error than end to end at full depth. MAN does not help:
# the mean error of DGL and InfoPro is higher with it at every depth, and that of PredSim is lower at some depths and
# higher at others. The differences at full depth are small: a wrong image is 0.3 points, and three seeds do not settle
# a handful of images. These runs are also short, so nothing says which rule would lead with more updates, a tuned rate
# or the authors' classifiers. The classifier does matter. In earlier runs, which are not stored, every rule had
# `head=PooledClassifier`. There, MAN was ahead of DGL and InfoPro at depths 1 to 3 and level with them at the top, and
# PredSim's classifiers, which have 1 % of its loss, learned nothing below the top.
#
# ### Which part of MAN does what?

# %%
arms = {"bias alone": {"average": False}}
if not SMOKE:
    arms |= {"average alone": {"biases": 0}, "two trained branches": {"biases": 2, "average": False}}
ablated = {"neither": trained["DGL"], "bias and average": trained["DGL + MAN"]}
for name, options in arms.items():
    network = al.momentum(rules["DGL"], **options)(blocks, classes=10)
    ablated[name] = train(network, al.sequential(network, sgd, prepare=data.unit_range()))

figure, panels = plt.subplots(1, COMPONENTS, figsize=(9, 2.5), sharex=True, sharey=True, layout="constrained")
for depth, axes in enumerate(panels):
    for row, own in enumerate(ablated.values()):
        axes.plot(errors(own)[:, depth], [row] * SEEDS, "o", color=COLOURS[0], markersize=5, alpha=0.6)
    axes.set(title=f"depth {depth + 1}", ylim=(len(ablated) - 0.5, -0.5))
    axes.set_yticks(range(len(ablated)), ablated)
    as_error(axes.xaxis, ticks=(0.01, 0.02, 0.05, 0.1, 0.3, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
figure.supxlabel("test error of DGL, a point for each seed", fontsize=10)
plt.show()

# %% [markdown]
# Compare "bias alone" with "bias and average" before crediting momentum with a gain: a deeper auxiliary network alone
# can lower the error. In the stored run it does, at every depth (means over seeds), and with the average added the
# error is higher than with neither. But in a run as short as this one, η'' is partly random to the end (section 2).
# A larger network does not repeat all of this (`docs/results.md`). The question needs long runs, see section 6.

# %% [markdown]
# ## 4. Memory
#
# Under backpropagation the activations of all layers wait for the gradient from the top. With a stopped gradient at
# every cut, a component can finish its update and drop its activations before the next one makes its own, so the
# largest component decides how much memory is needed. Two things eat into this: auxiliary networks have activations
# too (each of MAN's two branches has those of one more layer), and early layers see large images, so cuts of equal
# length leave most of the memory at the bottom. `al.networks.balanced_cuts` (`balanced` in the plots) chooses cuts by
# what the backward pass of each layer keeps.
#
# [`benchmarks/memory.py`](https://github.com/al-jax/al_jax/blob/main/benchmarks/memory.py) compiles one update ahead of
# time and reads the compiler's account of it: arguments (parameters, optimizer state, a micro-batch) and temporaries.
# This is XLA on a CPU; convolutions on a GPU need different work space.
#
# On the left, activations are kept. On the right, they are computed again in the backward pass
# (*rematerialisation*), which costs a second forward pass, about a third more time.

# %%
ARM = re.compile(r"(?P<rule>\w+)(?P<man> \+ MAN)?(?P<remat>, remat)?, K = (?P<number>\d+), cuts: (?P<cuts>\w+)")
RULES = {"greedy": "DGL", "predsim": "PredSim", "infopro": "InfoPro"}


def bars_of(arms):
    """Gigabytes by row, MAN or not, and remat or not; rows in order of rule and number of components."""
    sizes = {name: (own["arguments"] + own["temporaries"]) / 1e9 for name, own in arms.items()}
    whole = {(False, False): "end to end", (False, True): "end to end, remat"}
    found = {"end to end": {key: sizes[name] for key, name in whole.items() if name in sizes}}
    matches = [(match, size) for name, size in sizes.items() if (match := ARM.fullmatch(name))]
    for match, size in sorted(matches, key=lambda pair: (list(RULES).index(pair[0]["rule"]), int(pair[0]["number"]))):
        row = f"{RULES[match['rule']]}, K = {match['number']}" + ", balanced" * (match["cuts"] == "memory")
        found.setdefault(row, {})[bool(match["man"]), bool(match["remat"])] = size
    return found


def draw_memory(name, entry):
    found = bars_of(entry["arms"])
    figure, panels = plt.subplots(1, 2, figsize=(9, 0.9 + 0.34 * len(found)), sharex=True, sharey=True)
    figure.set_layout_engine("constrained")
    for remat, axes in enumerate(panels):
        for man, (colour, label) in enumerate(zip(COLOURS, ("rule alone", "with MAN"), strict=False)):
            here = [(row, own[man, remat]) for row, own in enumerate(found.values()) if (man, remat) in own]
            if not here:
                continue
            places, sizes = zip(*here, strict=True)
            shifts = [0 if row == 0 else 0.38 * man - 0.19 for row in places]
            kept = ["0.6" if row == 0 else colour for row in places]
            axes.barh(np.add(places, shifts), sizes, height=0.36, color=kept, label=label)
        for row, own in enumerate(found.values()):
            if not any(key[1] == remat for key in own):
                axes.text(0, row, " not run", va="center", fontsize=8, color="0.4")
        if (False, True) in found["end to end"]:
            axes.axvline(found["end to end"][False, True], color="0.3", linewidth=0.9, linestyle="--")
        axes.set(title="activations computed anew" if remat else "activations kept", xlabel="GB")
        axes.set_yticks(range(len(found)), found)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(len(found) - 0.5, -0.5)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS[:2]]
    handles.append(plt.Line2D([], [], color="0.3", linewidth=0.9, linestyle="--"))
    named = "rule alone", "with MAN", "end to end, computed anew"
    panels[1].legend(handles, named, frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(f"{name}, {entry['batch']} images of {' x '.join(map(str, entry['image'][:2]))}", fontsize=10)
    figure.set_dpi(80)  # for a light notebook
    plt.show()


measured = RESULTS / "benchmarks" / "memory.json"
if measured.is_file():
    for name, entry in json.loads(measured.read_text())["networks"].items():
        draw_memory(name, entry)
else:
    print("not run")

# %% [markdown]
# The dashed line is end to end with rematerialisation. Any claim that a rule saves memory has to be held against this
# line, not only against the grey bar on the left. On ResNet-32, without rematerialisation, only DGL alone in 16
# components reaches it; with rematerialisation, local rules need 11 to 35 % more than end to end. On ResNet-101 with
# balanced cuts and rematerialisation they need 9 to 13 % less, on ResNet-152 39 to 40 % less, and on ResNeXt-101 4 to
# 22 % more. More components help until the auxiliary networks and the largest component are what is left: on
# ResNet-101, four components of equal length need as much as two (16.7 and 16.5 GB).

# %% [markdown]
# ## 5. What the components represent
#
# The MAN paper looks at features in three ways: feature maps, linear probes, and similarity to a network trained end to
# end. These comparisons need two controls: the same network before training (`untrained`), and a network trained end
# to end from another seed. All other networks are of seed 0.

# %%
chosen = ("end to end", "DGL", "DGL + MAN", "InfoPro")
compared = {name: (networks[name], trained[name].components[0]) for name in chosen}
if SEEDS > 1:
    compared["end to end, another seed"] = networks["end to end"], trained["end to end"].components[1]
compared["untrained"] = networks["end to end"], trainers["end to end"].components(start(trainers["end to end"], seed=0))
compared = {
    name: (block_outputs(with_prepare(network, data.unit_range())), [part.variables for part in components])
    for name, (network, components) in compared.items()
}

# %% [markdown]
# A *linear probe* is a linear classifier, trained on the features of one block while the network stays as it is. It
# asks how much these features, here averaged over the image, say about the class. The auxiliary classifiers see
# windows and the probe does not, so a block can serve its own classifier well and the probe badly.


# %%
def show_with_legend_beside(figure):
    figure.axes[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    display(figure)


probes = {name: probe_accuracies(*own, digits.train, digits.test) for name, own in compared.items()}
show_with_legend_beside(pictures.probes(probes))

# %% [markdown]
# In the stored run, block 1 of DGL is no better for the probe than an untrained one. Block 2 of DGL and InfoPro is
# better by 2 or 3 points only, that of DGL + MAN is worse by 4, and block 4 of all three is far better.
#
# Linear CKA (centred kernel alignment, [Kornblith et al., 2019](https://arxiv.org/abs/1905.00414)) compares two
# representations of the same images. It is 1 where they are equal up to rotation, scale and shift. Read the control
# first: as far as an untrained block resembles a trained one, similarity says nothing about learning.

# %%
outputs = {name: jax.jit(blocks)(variables, digits.test.image) for name, (blocks, variables) in compared.items()}
maps = {name: linear_cka([(outputs["end to end"], own)]) for name, own in outputs.items()}
show_with_legend_beside(pictures.cka_by_block({name: np.diag(own) for name, own in maps.items()}, "end to end"))

# %% [markdown]
# In block 1 the untrained network is as similar as the trained ones (0.97), so only the upper blocks tell something.
# So far each block was compared with the block at its own height; here are all pairs.

# %%
display(pictures.cka({name: maps[name] for name in ("DGL", "DGL + MAN", "untrained")}, "end to end"))

# %% [markdown]
# Here are the features of one test image in each network, as means over channels. Every map has a scale of its own.

# %%
rows = [name for name in compared if name != "end to end, another seed"]
images = np.repeat(digits.test.image[:1], len(rows), axis=0)
features = [np.stack([outputs[name][block][0] for name in rows]) for block in range(COMPONENTS)]
figure = pictures.feature_maps(images, features)
for axes, name in zip(figure.axes[:: COMPONENTS + 1], rows, strict=True):
    axes.set_ylabel(name, fontsize=8)
display(figure)

# %% [markdown]
# For finished runs, `python -m al_jax.analysis.representation RUN RUN` (two folders of runs) measures and draws the
# same.

# %% [markdown]
# ## 6. The paper's tables
#
# Test errors in per cent from the files in `results/`, beside those of the paper. K is the number of components. A cell
# without a run says `not run`, and most do; a run with fewer epochs than the config's says so. MAN's published code
# differs from its paper in places, such as 15 components for K = 16; rows that follow the code say so. The paper gives
# no standard deviations, and its baselines may have had other cuts, see
# [`al_jax/analysis/published_local.py`](https://github.com/al-jax/al_jax/blob/main/al_jax/analysis/published_local.py).

# %%
display(Markdown(local_tables.render(RESULTS)))

# %% [markdown]
# ## 7. Between local and end to end
#
# `al.leak(rule, alpha)` computes the same losses and lets a share `alpha` of the gradient through each cut: 0 is the
# local rule, here the DGL of section 3, and 1 is end-to-end training with every auxiliary loss. Blocks that wait for
# gradients from above cannot train independently, so the network is one component, but it predicts at every depth as
# before.

# %%
leaking = {0.0: trained["DGL"]}
for alpha in (0.1,) if SMOKE else (0.1, 1.0):
    network = al.leak(rules["DGL"], alpha)(blocks, classes=10)
    leaking[alpha] = train(network, al.sequential(network, sgd, prepare=data.unit_range()))

figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
draw_end_to_end(axes)
for index, (alpha, own) in enumerate(leaking.items()):
    pictures.plot_seeds(axes, depths + 0.05 * (index - 1), errors(own), color=COLOURS[index], label=f"alpha {alpha:g}")
as_error(axes.yaxis)
axes.set(xlabel="components used", ylabel="test error", xticks=depths, ylim=(0.004, 0.5))
finish(axes)
plt.show()

# %% [markdown]
# ## 8. The same bits on several devices
#
# A pipelined engine gives each component a device and lets them work on different micro-batches at the same time. With
# MAN, a component also receives the next one's weights, a message that travels down while signals travel up. As they
# are the weights from before the next component's update, they arrive in time. Under `exact` the result is that of one
# device, bit for bit: `digest` is a SHA-256 over parameters, averages, statistics, optimizer state and the number of
# updates.

# %%
network, devices = networks["DGL + MAN"], jax.devices()[:COMPONENTS]
options = {"prepare": data.unit_range(), "exact": True}
digests = []
for trainer in (al.sequential(network, sgd, **options), al.pipelined(network, sgd, devices, **options)):
    state, _ = trainer.step(start(trainer, seed=0), epoch_batches(0, 0))
    digests.append(digest(trainer.components(state)))

print("one device:   ", digests[0])
print(f"{len(devices)} devices:    ", digests[1])
assert digests[0] == digests[1]

# %% [markdown]
# The devices are threads of one process here, so this section says nothing about speed.
#
# ## 9. From the command line
#
# `configs/local_learning.py` has the networks and rules of the papers as variants that add up:
#
# ```
# python train.py --config=configs/local_learning.py:smoke,man                  this kind of network, on digits
# python train.py --config=configs/local_learning.py:infopro,k8,man ...         InfoPro, ResNet-32, K = 8, MAN
# python -m al_jax.analysis.compare CONFIG CONFIG --seeds 5                     paired seeds, confidence intervals
# ```
#
# A claim that one rule is better than another needs at least the last of these.
