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
# # The tables and figures of the Associated Learning paper
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/al-jax/al_jax/blob/main/notebooks/02_paper_tables.ipynb)
#
# Associated Learning ([Kao and Chen, 2021](https://arxiv.org/abs/1906.05560)) cuts a network into components. Each
# component trains its own layers, and a *bridge* beside them, to predict a *code* of the label. An autoencoder learns
# the code, and no gradient passes from one component to another.
# [The first notebook](https://github.com/al-jax/al_jax/blob/main/notebooks/01_associated_learning.ipynb) builds one.
#
# This notebook sets the paper's tables and figures beside what was measured here. All of it but the last section is
# drawn from `results/*.json`, the files that finished runs leave. Where there is no run, a table says `not run`. The
# last section trains one small network again, on the digits of scikit-learn, in a minute.

# %% tags=["skip-execution"]
# %pip install -q "al_jax @ git+https://github.com/al-jax/al_jax"
# !git clone -q --depth 1 https://github.com/al-jax/al_jax

# %%
import tempfile
from pathlib import Path

from IPython.display import Markdown, display

from al_jax.analysis import depth, figures, maps, pictures, tables
from al_jax.analysis.inspect import inspect
from al_jax.analysis.layers import layer_outputs
from al_jax.analysis.results import seeds_of
from al_jax.training import load
from al_jax.training.command_line import read_config
from al_jax.training.loop import Training
from al_jax.training.records import read_json
from al_jax.training.run import set_up
from al_jax.training.summary import summarise, write_summary
from al_jax.training.workdir import claimed

# %matplotlib inline
RESULTS = next(path for path in map(Path, ("results", "../results", "al_jax/results")) if path.is_dir())

# %% [markdown]
# ## 1. Tables 2 to 7
#
# The paper's columns come first, then those of this library:
#
# | column | what was trained |
# |---|---|
# | backprop, authors' recipe | the baseline of the authors' code |
# | backprop, same network | the network that Associated Learning (AL) uses in inference, end to end |
# | backprop, usual network | a usual ResNet: a global average and one dense layer after the features |
# | AL, authors' recipe; AL, ours | as in the authors' code; as in `configs/` |
# | AL, ours with contrast | the same with a loss that also asks which of a micro-batch's codes is meant |
# | DTP | difference target propagation ([Lee et al., 2015](https://arxiv.org/abs/1412.7525)) |
#
# ± is the standard deviation over seeds. The paper trained for 200 epochs. Only runs of the same number of epochs and
# images can be compared, so `short` ones stand beside those of full length. The rows of *Ablations* have the names of
# the files in `results/ablations`; the configs and `docs/results.md` say what they are for.

# %%
display(Markdown(tables.render(RESULTS)))

# %% [markdown]
# ## 2. Accuracy, losses and codes by depth
#
# The MLP of three components on MNIST; points are means over three seeds, bars reach from the lowest to the highest.
# Raw associated losses of different components cannot be compared. At the start of training, the variance of the codes
# over classes falls about tenfold with every component, so even a constant prediction has a tiny loss in the upper
# ones. So losses are divided by this variance: 1 is what the best constant reaches. The last panel is the share of
# classes whose code the decoders turn back into that class.

# %%
three = read_json(RESULTS / "mnist_mlp_three.json")["runs"]
display(pictures.by_depth(three))

# %% [markdown]
# ## 3. How far classes lie apart, layer by layer
#
# The paper's Table 7 has one number for a network. Here is the same measure for every layer on the way from image
# to output: the distance between the means of two classes, divided by the distance between two images of one class. A
# higher ratio means that classes lie further apart. The networks differ: Associated Learning has three components here
# (three layers up, two of the bridge, three down), backpropagation has the network of two (six layers).

# %%
backprop = read_json(RESULTS / "mnist_mlp_backprop.json")["runs"]
display(pictures.distances({"Associated Learning": three, "backpropagation": backprop}))

# %% [markdown]
# ## 4. Stopping early
#
# Every component can predict by itself. An image stops at the first one whose decoded class is confident enough; each
# point is one threshold, from 0.3 to 0.99 (seed 0). Asking every component on the way costs more than going to the top
# at once: with a threshold of 0.99 no image stops before the top, and the cost is 37.5 million multiply-accumulates in
# place of 15.5. With 0.97 and less, at least 95 % of the images stop at the first component, and the network costs
# less than without exits.

# %%
first = three[0]["analysis"]
display(pictures.exits(first["early_exit"], (first["macs"]["inference"][-1], three[0]["test_accuracy"])))

# %% [markdown]
# ## 5. Depth
#
# Ever deeper networks on digits, without normalisation or shortcuts (`python -m al_jax.analysis.depth`; means of two
# seeds, bars from one to the other). Under backpropagation the gradient of the first layer has passed all layers
# above it. Under Associated Learning every layer has a loss right above it, behind the two layers of its bridge. With
# 32 components Associated Learning keeps 96.8 %, and backpropagation reaches 10 and 57 %. With 64, Associated Learning
# fails in part, too (48 and 87 %).

# %%
figure = depth.draw(read_json(RESULTS / "depth.json")["runs"])
figure.set_dpi(75)  # for a light notebook
display(figure)

# %% [markdown]
# ## 6. Maps of layers
#
# The paper's Figures 5 and 6 map layers by t-SNE: every point is a test image, coloured by class, and images with
# similar activations lie close together. The number of a class stands at the median of its points. Axes have no
# meaning, nor do distances between groups that are far apart. Here are MNIST's MLP and convolutional network after two
# epochs by either rule. `python -m al_jax.analysis.figures` draws those of the other networks, and the figures above
# for all of them.

# %%
found, missing = figures.figures(RESULTS)
for name in ("mnist_mlp", "mnist_mlp_backprop", "mnist_cnn", "mnist_cnn_backprop"):
    figure = found[f"maps_{name}"]()
    figure.set_dpi(45)
    display(figure)
print("not run:", ", ".join(missing))

# %% [markdown]
# ## 7. A cell run again
#
# A run is a config, a folder, and what it leaves there. This one fills a cell of the table of digits above (first row,
# AL), as `python -m al_jax.analysis.cells configs/mnist_mlp.py:smoke` does for all seeds. On another processor it may
# round differently, and so end with another accuracy.

# %%
config = read_config(f"{RESULTS.parent / 'configs' / 'mnist_mlp.py'}:smoke", {})
workdir = Path(tempfile.mkdtemp())
run = set_up(config, workdir)
with claimed(config, workdir):
    finished = Training(run).finish()
summary = summarise(run, finished)
write_summary(run, summary)
recorded = seeds_of(read_json(RESULTS / "mnist_mlp_smoke.json")["runs"])
for name in ("test_accuracy", "accuracy_by_depth"):
    print(name, "now", summary[name], "and recorded, by seed", [entry[name] for entry in recorded])

# %% [markdown]
# `inspect` measures what the tables above are made of. First we print Table 7's distances for this network's output,
# between classes (`inter`) and within classes (`intra`), and their ratio. Then we map some of its layers with t-SNE,
# as in section 6.

# %%
(analysis,) = inspect(workdir)
print({name: f"{value:.2f}" for name, value in analysis["distances"]["output"].items()})

# %%
network, components = load.load(workdir)
test = run.held_out["test"]
layers = layer_outputs(network, [part.variables for part in components], test.image, [1, 2, 4])
points = {"input": test.image / 255.0, **{f"layer {place.number}": x for place, x in layers.items()}}
figure = maps.draw(maps.place(points, test.label))
figure.set_dpi(50)
display(figure)
