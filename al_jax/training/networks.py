"""From a configuration to a network under its learning rule."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax import networks, rules
from al_jax.components import freeze
from al_jax.losses import code_contrast, mean_squared_error
from al_jax.machines import as_network
from al_jax.rules.parts import PartFactory
from al_jax.training import derived
from al_jax.training.config import MACHINES, PUBLISHED_CUTS, Config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.training.machines import build_machine
from al_jax.types import Network

ACTIVATIONS = {"elu": nn.elu, "relu": nn.relu, "sigmoid": nn.sigmoid}
ASSOCIATED_LOSSES = {"squares": mean_squared_error, "contrast": code_contrast}
OWN_COMPONENTS = 4  # a resnet's own cuts: the stem and three stages
DENSE_UNITS = 1024  # of each dense layer of a vgg
HEADS: dict[str, Callable[..., nn.Module]] = {
    "mlp_sr": rules.MlpSrHead,
    "mlp_sr2": functools.partial(rules.MlpSrHead, layers=2),
    "wide": rules.WideHead,
    "1c2f": rules.ConvHead,
    "2c2f": functools.partial(rules.ConvHead, convolutions=2),
    "image": rules.ImageHead,
    "averaged": rules.AveragedClassifier,
    "pooled": rules.PooledClassifier,
}


def build_network(config: Config, facts: DataFacts) -> Network:
    """The network under its learning rule.

    Raises:
      ConfigError: the network cannot be cut, or trained by this rule, as the configuration says.
    """
    if config.rule in MACHINES:
        # Neither the optimizer nor the length of an epoch matters to what is computed.
        return as_network(build_machine(config, facts, optax.identity(), epoch=1))
    rule = {
        "associated": _associated,
        "backprop": _backprop,
        "greedy": lambda config, facts: functools.partial(rules.greedy, **_heads(config)),
        "predsim": _predsim,
        "infopro": _infopro,
    }[config.rule](config, facts)
    if config.momentum:
        rule = rules.momentum(
            rule,
            config.momentum_depth,
            decay=config.momentum_decay,
            biases=config.momentum_biases,
            average=config.momentum_average,
            scaled=config.momentum_scaled,
        )
    if config.leak:
        rule = rules.leak(rule, config.leak)
    try:
        network = rule(build_blocks(config, facts.image), facts.classes)
    except ValueError as error:
        raise ConfigError(f"config.rule={config.rule} on this network: {error}") from error
    return freeze(network, derived.freeze_indices(config))


def _associated(config: Config, facts: DataFacts):
    layer = functools.partial(rules.CodeLayer, dtype=dtype_of(config))
    return functools.partial(
        rules.associated,
        code=config.code,
        bridge=_bridges(config, facts, nn.sigmoid, [ACTIVATIONS[name] for name in derived.hidden_of_bridges(config)]),
        encoder=layer,
        decoder=layer,
        losses=(ASSOCIATED_LOSSES[config.associated_loss], mean_squared_error),
        autoencoder_rate=config.autoencoder_rate if config.codes == "online" else 0.0,
        l2=config.l2,
        l2_kernels=config.l2_kernels,
    )


def _backprop(config: Config, facts: DataFacts):
    layer = functools.partial(rules.CodeLayer, dtype=dtype_of(config))
    return functools.partial(
        rules.backprop,
        code=config.code,
        bridge=_bridges(config, facts, nn.relu, [nn.relu] * config.components)[-1],
        decoder=functools.partial(layer, activation=nn.relu, norm=config.dense_norm),
        head=functools.partial(layer, activation=rules.linear),
        l2=config.l2,
        l2_kernels=config.l2_kernels,
    )


def _predsim(config: Config, facts: DataFacts):
    compared = rules.Compared(dtype=dtype_of(config))
    return functools.partial(rules.predsim, beta=config.similarity, compared=compared, **_heads(config))


def _infopro(config: Config, facts: DataFacts):
    def restore(image: jax.Array) -> jax.Array:
        return jnp.clip(facts.normalise.inverse(image) / 255, 0, 1)

    return functools.partial(
        rules.infopro,
        first=derived.weights_of(config, "infopro_first"),
        last=derived.weights_of(config, "infopro_last"),
        shares=derived.shares_of(config),
        contrast=config.contrast,
        restore=restore,
        decoder=(rules.ImageDecoder if _of_large_images(config) else rules.Decoder)(dtype=dtype_of(config)),
        **_heads(config),
    )


def _heads(config: Config) -> dict[str, Any]:
    """The classifiers of a local rule: its own auxiliary one, or another rule's, and the top one."""
    dtype = dtype_of(config)
    own = {"greedy": "mlp_sr", "predsim": "averaged", "infopro": "image" if _of_large_images(config) else "1c2f"}
    head = functools.partial(HEADS[own[config.rule] if config.head == "own" else config.head], dtype=dtype)
    if config.head_width != 1:
        head = functools.partial(head, width=config.head_width)
    top = networks.VggHead if config.network == "vgg13" else rules.PooledClassifier
    return {"head": head, "top": functools.partial(top, dtype=dtype)}


def _of_large_images(config: Config) -> bool:
    return config.network == "vgg13" or config.network in networks.IMAGENET_RESNETS


def build_codes(config: Config, classes: int) -> Network:
    """The chain of encoders and decoders of the network, for pre-trained codes."""
    layer = functools.partial(rules.CodeLayer, dtype=dtype_of(config))
    codes = (config.code,) * config.components

    def chain(blocks, classes):
        return rules.label_codes(classes, codes, encoder=layer, decoder=layer)

    # One component, as the network is; no share of a code's gradient goes down, before training or in it.
    return (rules.leak(chain, 0.0) if config.leak else chain)(codes, classes)


def _bridges(config: Config, facts: DataFacts, activation, hidden) -> list[PartFactory]:
    """What stands between each block and its code, `hidden` the units of each component's."""
    if config.bridge == "none":
        return [rules.NoBridge] * config.components
    bridge = functools.partial(
        rules.Bridge,
        expansion=config.bridge_expansion,
        activation=activation,
        pool={"paper": None, "pooled": config.pool, "conv": 1}[config.bridge],
        dtype=dtype_of(config),
        norm=config.dense_norm,
    )
    bridges: list[PartFactory] = [functools.partial(bridge, hidden=units) for units in hidden]
    if config.bridge == "conv":
        # The block that stands next is the shape of what each bridge sees first; above the top one there is none.
        leads = (*build_blocks(config, facts.image)[1:], None)
        return [functools.partial(part, lead=lead) for part, lead in zip(bridges, leads, strict=True)]
    return bridges


def build_blocks(config: Config, image: tuple[int, int, int]) -> tuple[nn.Module, ...]:
    """The backbone, cut into components.

    Raises:
      ConfigError: the network cannot be cut like that.
    """
    options: dict[str, Any] = {"activation": ACTIVATIONS[config.activation], "dtype": dtype_of(config)}
    if config.network == "mlp":
        return networks.mlp([config.width] * config.components, **options)
    options |= {"width": config.width_factor}
    try:
        blocks = _convolutional(config, _cuts(config), options)
        if config.cuts == "memory":
            (whole,) = blocks
            blocks = networks.cut(whole.layers, networks.balanced_cuts(whole.layers, image, config.components))
    except ValueError as error:
        raise ConfigError(f"{config.network} with config.cuts={config.cuts!r}: {error}") from error
    return networks.rematerialised(blocks) if config.remat else blocks


def _convolutional(config: Config, cuts: Sequence[int] | int, options: dict[str, Any]) -> tuple[networks.Stack, ...]:
    if config.network == "vanilla_cnn":
        return networks.vanilla_cnn(cuts=cuts, **options)
    if config.network == "vgg":
        dense = (DENSE_UNITS,) * config.dense_layers
        return networks.vgg(cuts=cuts, dense=dense, norm=config.batch_norm, **options)
    if config.network == "vgg13":
        return networks.vgg13(cuts=cuts, **options)
    if config.network in networks.IMAGENET_RESNETS:
        return networks.imagenet_resnet(config.network, cuts=cuts, **options)
    depth = int(config.network.removeprefix("resnet"))
    own = None if cuts == OWN_COMPONENTS else cuts
    return networks.resnet(depth, cuts=own, standard=config.residual == "standard", **options)


def _cuts(config: Config) -> Sequence[int] | int:
    if config.cuts == "memory":
        return 1  # to be cut when the sizes of its layers are known
    if config.cuts in PUBLISHED_CUTS:
        return networks.published_cuts(config.network, config.components, config.cuts)
    cuts = derived.cuts_of(config)
    return config.components if cuts is None else cuts


def dtype_of(config: Config) -> jnp.dtype | None:
    """What layers compute in, None for the parameters' own float32."""
    return None if config.dtype == "float32" else jnp.dtype(config.dtype)
