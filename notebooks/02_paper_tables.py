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
# Everything below is drawn from `results/*.json`, the files that finished runs leave, beside the numbers of
# [Kao and Chen (2021)](https://arxiv.org/abs/1906.05560). A cell without a run says `not run`. The last
# section trains a small cell of its own on embedded digits, in a minute.

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
from al_jax.training.summary import leave, summarise
from al_jax.training.workdir import claimed

# %matplotlib inline
RESULTS = next(path for path in map(Path, ("results", "../results", "al_jax/results")) if path.is_dir())

# %% [markdown]
# ## 1. Tables 2 to 7
#
# The columns behind the paper's are this library's: backpropagation with the authors' recipe, on the network that
# Associated Learning uses in inference, and on a usual one; Associated Learning with the authors' recipe, with the one
# of the config, and with a loss that also tells codes apart; difference target propagation. Only runs of the same
# number of epochs and images can be compared, so short ones stand beside those of full length.

# %%
display(Markdown(tables.render(RESULTS)))

# %% [markdown]
# ## 2. Accuracy, losses and codes by depth
#
# The MLP of three components on MNIST. Raw associated losses of different components cannot be compared: at the
# start the codes of different classes differ ten times less from component to component, so that a constant has a
# tiny loss, too. In units of the code's variance over classes, 1 is what the best constant reaches.

# %%
three = read_json(RESULTS / "mnist_mlp_three.json")["runs"]
display(pictures.by_depth(three))

# %% [markdown]
# ## 3. How far classes lie apart, layer by layer
#
# The paper's Table 7 has one number for a network. Here is the same measure for every layer on the way from image
# to output: distance between the means of two classes over the distance of two images of one class.

# %%
backprop = read_json(RESULTS / "mnist_mlp_backprop.json")["runs"]
display(pictures.distances({"Associated Learning": three, "backpropagation": backprop}))

# %% [markdown]
# ## 4. Stopping early
#
# Every component can predict by itself. An image stops at the first one whose decoded class is confident enough; each
# point is one threshold. Asking every component on the way costs more than going to the top at once.

# %%
first = three[0]["analysis"]
display(pictures.exits(first["early_exit"], (first["macs"]["inference"][-1], three[0]["test_accuracy"])))

# %% [markdown]
# ## 5. Depth
#
# Ever deeper networks on digits (`python -m al_jax.analysis.depth`). Under backpropagation the first layer's
# gradient has passed all layers above it; under Associated Learning every layer has a loss next door.

# %%
figure = depth.draw(read_json(RESULTS / "depth.json")["runs"])
figure.set_dpi(70)  # for a light notebook
display(figure)

# %% [markdown]
# ## 6. Maps of layers
#
# t-SNE of the layers that the paper's Figures 5 and 6 show, here of MNIST's MLP and convolutional network after a short
# training by either rule. `python -m al_jax.analysis.figures` draws those of the other networks, and the figures above
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
# A run is a config, a folder, and what it leaves there. This one is a cell of the table of digits above, which
# `python -m al_jax.analysis.cells configs/mnist_mlp.py:smoke` fills; another processor may round otherwise.

# %%
config = read_config(f"{RESULTS.parent / 'configs' / 'mnist_mlp.py'}:smoke", {})
workdir = Path(tempfile.mkdtemp())
run = set_up(config, workdir)
with claimed(config, workdir):
    finished = Training(run).finish()
summary = summarise(run, finished)
leave(run, summary)
recorded = seeds_of(read_json(RESULTS / "mnist_mlp_smoke.json")["runs"])
for name in ("test_accuracy", "accuracy_by_depth"):
    print(name, "now", summary[name], "and recorded, by seed", [entry[name] for entry in recorded])

# %% [markdown]
# `inspect` measures what the tables above are made of, and maps some layers with t-SNE, as in the paper's Figures 5
# and 6.

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
