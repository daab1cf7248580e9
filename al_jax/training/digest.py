"""Names and a fingerprint for the leaves of canonical components, independent of engine, devices and packing."""

import hashlib
from collections.abc import Sequence

import jax
import numpy as np

from al_jax.types import ComponentState


def named_leaves(components: Sequence[ComponentState]) -> dict[str, np.ndarray]:
    """Every leaf on the host by its path, for example `0/params/f/Dense_0/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tuple(components))
    host = jax.device_get([leaf for _, leaf in leaves])
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return dict(zip(names, map(np.asarray, host), strict=True))


def digest(components: Sequence[ComponentState]) -> str:
    """SHA-256 over path, type, shape and little-endian bytes of parameters, model and optimizer state, and updates.

    The components' keys stay out: they are the seed's, not something learned.
    """
    sha = hashlib.sha256()
    for name, leaf in sorted(named_leaves(components).items()):
        if name.split("/")[1] == "key":
            continue
        leaf = leaf.astype(leaf.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{name} {leaf.dtype.name} {leaf.shape}\n".encode())
        sha.update(leaf.tobytes())
    return sha.hexdigest()
