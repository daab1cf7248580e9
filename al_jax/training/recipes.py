"""Fields that several configs share: what the authors of Associated Learning did, and what replaces it here."""

# The authors' code for every network of theirs; batches are shuffled here, theirs were not. Networks add to it.
AUTHORS = {
    "normalisation": "subtract_mean",
    "batch_size": 32,
    "epochs": 200,
    "schedule": "steps",
    "learning_rate": 1e-4,
    "autoencoder_rate": 2.0,
    "epsilon_hat": True,
    "bridge": "paper",
    "pool": 2,
    "bridge_hidden": "sigmoid",
    "associated_loss": "squares",
    "codes": "online",
}

# Of CIFAR images, in training and in inference.
AUTHORS_CIFAR = {**AUTHORS, "augmentation": "authors"}

# What replaces it here: for networks of convolutions, and for CIFAR images. With batches of 128 an epoch is four calls;
# on a GPU --config.updates_per_call=390 makes one of it, of 153 MB of images. On a CPU a call of minutes would result,
# and a run stops and saves only between calls.
POOLED = {"normalisation": "standardise", "bridge": "pooled", "pool": 4, "codes": "pretrained", "batch_size": 128}
CIFAR = {"dataset": "cifar10", "normalisation": "standardise", "augmentation": "crop_flip", "epochs": 100}

# The same inference network as one component, with the activation, in bridges too, and the loss of backprop.
BACKPROP = {
    "rule": "backprop",
    "activation": "relu",
    "codes": "online",
    "bridge_hidden": "sigmoid",
    "associated_loss": "squares",
}

# On embedded digits in seconds, to see that every part works. Four codes of 32 units decode after 1500 updates at 1e-3
# (seeds 0 to 5, not recorded), not yet after 1000.
SMOKE = {"dataset": "digits", "augmentation": "none", "batch_size": 32, "epochs": 5, "code": 32}
