"""scikit-learn estimators as layers, whose fitted state is bytes in an array.

The bytes are pickles: loading a checkpoint of such a machine and running it executes what they say. Never run one from
people whom you do not trust.
"""

import functools
import pickle
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.arguments import whole
from al_jax.machines.fitting import InputRule, fitted
from al_jax.machines.types import Machine


def estimator(
    make_estimator: Callable[[], Any],
    width: int,
    *,
    feedback: InputRule | None,
    label: bool = False,
    partial: bool = False,
    separate: bool = True,
    capacity: int = 2**20,
    name: str | None = None,
) -> Machine:
    """A layer that fits scikit-learn estimators on the host, `(B, ...) -> (B, width)`.

    A fit is a pure function of the bytes, the inputs and the targets, which compiled code calls on the host; so such
    machines run inside jit and vmap (there one after another), and are saved and restored, as others are. Until the
    first update a fixed random linear map answers.

    Args:
      make_estimator: makes an estimator that is not fitted; what it draws comes from an integer `random_state`.
      width: outputs, or classes.
      feedback: finds what to hand down, as `al.machines.gaussian_search` does; None: zeros, for the lowest machine
        of a network, or the upper one of `al.machines.climbed`; `chain` refuses it above what learns by feedback.
      label: one classifier learns the label and answers its `predict_proba`, or the one-hot code of its `predict`;
        otherwise regressors learn the target.
      partial: every update goes on by `partial_fit`; otherwise it fits anew.
      separate: an estimator for each output; otherwise one that takes targets `(B, width)`. Classifiers are one.
      capacity: bytes for the compressed pickle of all.
      name: what errors and metrics call it.

    Raises:
      ValueError: `make_estimator` is not a function; what it makes is not a regressor, or not a classifier with
        `label`, or has no `partial_fit` with `partial`, or one output without `separate`; or its `random_state` is no
        integer, so that its fit is not a function of the data.
      jax.errors.JaxRuntimeError: when an update runs, a fit fails on the host, as of a classifier that sees one class
        or labels beyond its width, or the fitted estimators need more bytes than there are.
    """
    if not callable(make_estimator):
        kind = type(make_estimator).__name__
        raise ValueError(
            f"machines.estimator takes what makes estimators, not a {kind}: a class, or lambda: {kind}(...)"
        )
    sample = make_estimator()
    name = name or type(sample).__name__
    whole(f"width of machine {name!r}", width)
    whole(f"capacity of machine {name!r}", capacity)
    _check(name, sample, label, partial)
    if not label and not separate and not _takes_many(sample):
        raise ValueError(f"machine {name!r}: {type(sample).__name__} has one output: leave separate=True")

    def fit_on_host(data, length, x, t):
        x, t = np.asarray(x), np.asarray(t)
        if label and np.isnan(t).any():
            raise ValueError(f"machine {name!r} learns labels from 0 to {width - 1}, and there are others: widen it")
        before = pickle.loads(_bytes(data, length)) if partial and int(length) else None
        targets = [t.argmax(1)] if label else list(t.T) if separate else [t]
        models = before or [make_estimator() for _ in targets]
        for model, target in zip(models, targets, strict=True):
            if not partial:
                model.fit(x, target)
            elif label:
                model.partial_fit(x, target, classes=np.arange(width))
            else:
                model.partial_fit(x, target)
        return _filled(pickle.dumps(models, protocol=5), capacity, name)

    def predict_on_host(data, length, x):
        if not int(length):  # vmap turns a condition into a choice and runs both sides
            return np.zeros((len(x), width), np.float32)
        models, x = _loaded(_bytes(data, length)), np.asarray(x)
        if label:
            return _rates(models[0], x, width)
        return np.float32(np.concatenate([model.predict(x).reshape(len(x), -1) for model in models], axis=1))

    def init(key, x):
        return {"bytes": jnp.zeros(capacity, jnp.uint8), "length": jnp.int32(0)}

    def predict(model, x):
        shape = jax.ShapeDtypeStruct((len(x), width), jnp.float32)
        return jax.pure_callback(predict_on_host, shape, *model.values(), x, vmap_method="sequential")

    def fit(model, x, t, key):
        shape = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tuple(model.values()))
        found = jax.pure_callback(fit_on_host, shape, *model.values(), x, t, vmap_method="sequential")
        return dict(zip(model, found, strict=True))

    return fitted(init, predict, fit, width, label=label, feedback=feedback, name=name)


def fitted_estimators(model: dict[str, jax.Array]) -> list[Any]:
    """The estimators that a machine has fitted, of `state.fixed.model`; none before the first update."""
    return pickle.loads(_bytes(model["bytes"], model["length"])) if int(model["length"]) else []


def _bytes(data, length) -> bytes:
    return zlib.decompress(np.asarray(data)[: int(length)].tobytes())


@functools.lru_cache(maxsize=32)
def _loaded(data: bytes) -> list[Any]:
    return pickle.loads(data)


def _filled(data: bytes, capacity: int, name: str) -> tuple[np.ndarray, np.int32]:
    packed = np.frombuffer(zlib.compress(data, 1), np.uint8)
    if len(packed) > capacity:
        raise ValueError(
            f"machine {name!r}: the fitted estimators need {len(packed)} bytes and there are {capacity}: make it with "
            "a greater `capacity` or smaller estimators"
        )
    return np.pad(packed, (0, capacity - len(packed))), np.int32(len(packed))


def _rates(model: Any, x: np.ndarray, width: int) -> np.ndarray:
    if not hasattr(model, "predict_proba"):
        return np.eye(width, dtype=np.float32)[model.predict(x)]
    rates = np.zeros((len(x), width), np.float32)
    rates[:, model.classes_] = model.predict_proba(x)
    return rates


def _takes_many(sample: Any) -> bool:
    """Whether an estimator takes targets `(B, width)`, by its tag or by trial, as some that do have no such tag."""
    tags = getattr(sample, "__sklearn_tags__", None)
    if tags and tags().target_tags.multi_output:
        return True
    rows = np.random.default_rng(0).random((20, 2))
    try:
        with warnings.catch_warnings(action="ignore"):
            sample.fit(rows, rows)
    except ValueError:
        return False
    return True


def _check(name: str, sample: Any, label: bool, partial: bool) -> None:
    if partial and not hasattr(sample, "partial_fit"):
        raise ValueError(f"machine {name!r}: {type(sample).__name__} has no partial_fit: make it without `partial`")
    if not hasattr(sample, "predict"):
        raise ValueError(f"machine {name!r}: {type(sample).__name__} has no predict, so it is no layer")
    from sklearn import base

    kind = "classifier" if label else "regressor"
    if not (base.is_classifier if label else base.is_regressor)(sample):
        raise ValueError(f"machine {name!r}: {type(sample).__name__} is no {kind}, which label={label} needs")
    drawn = {key: value for key, value in sample.get_params().items() if key.endswith("random_state")}
    for key, value in drawn.items():
        if not isinstance(value, int):
            raise ValueError(
                f"machine {name!r}: {key} is {value}, so the fit is no function of the data: set an integer"
            )
