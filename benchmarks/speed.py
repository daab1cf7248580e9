"""Images a second and memory of Associated Learning and backpropagation, for the networks of the paper.

Every arm trains on the same random 32x32 colour images with Adam, `--updates` of them in one dispatch. `MACs` are the
multiply-accumulates of an image in the forward pass of all losses; an update takes three times as many, but only twice
as many in the first layers of every component, whose inputs have no gradient. `of peak` is the share of the device's
speed in matrix products that the MACs of an update reach. `memory` is what the program of the updates needs in XLA's
accounting: parameters, the optimizer's state, images, activations. Backpropagation trains the inference network of the
pooled arm.

  python -m benchmarks.speed [--quick] [--accelerator] [--networks PATTERN] [--dtypes float32 bfloat16]
      [--batch 32] [--updates 2] [--rounds 3] [--json FILE]

Without --accelerator it runs on one CPU core. `--batch 128 --updates 390` is an epoch of CIFAR in one dispatch, as
`--config.updates_per_call=390` makes it in train.py.
"""

import argparse
import functools
import itertools
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import al_jax as al
from al_jax.analysis.macs import training_macs, update_macs
from al_jax.analysis.options import positive
from al_jax.components import with_prepare
from al_jax.data import unit_range
from al_jax.rules import Bridge
from benchmarks import timing
from benchmarks.compiled import Program, compile_updates, total

IMAGE = (32, 32, 3)
BACKPROP = "backprop"
DTYPES = ("float32", "bfloat16")


class Case(NamedTuple):
    """A network of the paper with its number of classes and width of codes."""

    name: str
    blocks: Callable[..., Sequence[nn.Module]]
    classes: int
    code: int


def mlp(width: float, dtype) -> Sequence[nn.Module]:
    return al.networks.mlp([round(3000 * width)] * 2, dtype=dtype)


class Arm(NamedTuple):
    """Compiled updates, and the multiply-accumulates of an image: in the forward pass, and in an update."""

    program: Program
    macs: int
    update_macs: int


networks = al.networks
CASES = (
    Case("MLP", mlp, 10, 3000),
    Case("Vanilla CNN", networks.vanilla_cnn, 10, 256),
    Case("ResNet-20", functools.partial(networks.resnet, 20), 10, 300),
    Case("ResNet-32", functools.partial(networks.resnet, 32), 10, 300),
    Case("VGG", networks.vgg, 10, 300),
)


QUICK = Case("Vanilla CNN, two of four components", lambda **given: networks.vanilla_cnn(**given)[:2], 10, 256)


def arms_of(case: Case, width: float, dtype) -> dict[str, al.Network]:
    blocks, code = case.blocks(width=width, dtype=dtype), max(1, round(case.code * width))

    def bridge(pool):
        return functools.partial(Bridge, pool=pool, dtype=dtype)

    relu = functools.partial(Bridge, pool=4, dtype=dtype, activation=nn.relu)
    return {
        "AL, paper's bridges": al.associated(blocks, case.classes, code, bridge=bridge(None)),
        "AL, pooled bridges": al.associated(blocks, case.classes, code, bridge=bridge(4)),
        BACKPROP: al.backprop(blocks, case.classes, code, bridge=relu),
    }


def compile_arms(case: Case, options: argparse.Namespace, dtype: str) -> dict[str, Arm]:
    """The arms of one network, ready to run; an accelerator's compiler takes long, and a core of the host for each."""
    images = jax.ShapeDtypeStruct((options.batch, *IMAGE), jnp.uint8)
    shapes = {
        "image": jax.ShapeDtypeStruct(images.shape, jnp.float32),
        "label": jax.ShapeDtypeStruct(images.shape[:1], jnp.int32),
    }

    def compiled(network: al.Network) -> Arm:
        prepared = with_prepare(network, unit_range())
        program = compile_updates(prepared, optax.adam(1e-4), images, options.updates)
        return Arm(program, sum(training_macs(network, shapes)), sum(update_macs(network, shapes)))

    computing = None if dtype == "float32" else jnp.dtype(dtype)
    arms = arms_of(case, 0.05 if options.quick else 1.0, computing)
    with ThreadPoolExecutor(len(arms) if options.accelerator else 1) as pool:
        return dict(zip(arms, pool.map(compiled, arms.values()), strict=True))


def compare(case: Case, dtype: str, arms: dict[str, Arm], options: argparse.Namespace, peak: float) -> dict:
    """Times the arms of one network."""
    rng = np.random.default_rng(0)
    size = (options.updates, options.batch)
    batches = jax.device_put(
        {
            "image": rng.integers(0, 256, (*size, *IMAGE)).astype(np.uint8),
            "label": rng.integers(0, case.classes, size).astype(np.int32),
        }
    )
    valid = np.int32(options.updates)
    runs = {}
    for name, arm in arms.items():
        step = functools.partial(_run, arm.program, valid)
        runs[name] = timing.training(step, arm.program.draw(jax.random.key(0)), batches)
    samples = timing.interleaved(runs, options.rounds)
    result = {"case": case.name, "dtype": dtype, "arms": {}, "ratio": {}}
    for name, own in samples.items():
        summary = timing.summarise(own, options.updates)
        images = 1e3 * options.batch / summary["ms_per_update"]
        flops = 2 * arms[name].update_macs * images
        result["arms"][name] = {
            **summary,
            "images_per_second": images,
            "macs": arms[name].macs,
            "of_peak": flops / peak,
            "memory": arms[name].program.memory,
        }
        result["ratio"][name] = timing.ratio(samples, name, BACKPROP)
    return result


def _run(program: Program, valid, state, batches):
    return program.run(state, batches, valid)


def matmul_peak(size: int, dtype: str) -> float:
    """Floating-point operations a second of a square matrix product."""
    x = jnp.ones((size, size), dtype)
    product = jax.jit(lambda x: x @ x)
    samples = timing.interleaved({"product": lambda: timing.measure(lambda: product(x))}, 10)
    return 2 * size**3 / min(sample.wall for sample in samples["product"])


def row(result: dict, name: str) -> list[str]:
    arm = result["arms"][name]
    return [
        result["case"],
        name,
        result["dtype"],
        f"{arm['images_per_second']:,.0f}",
        f"{arm['macs'] / 1e6:.1f} M",
        f"{arm['of_peak']:.0%}",
        f"{total(arm['memory']) / 1e9:.2f} GB",
        f"{1 / result['ratio'][name]:.2f}",
    ]


def main():
    parser = timing.arguments_of(__doc__, "one tiny network")
    parser.add_argument("--accelerator", action="store_true", help="JAX's default device in place of one core")
    parser.add_argument("--networks", type=timing.pattern, default="", metavar="PATTERN", help="a regular expression")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=DTYPES, help="what layers compute in")
    parser.add_argument("--batch", type=positive, default=32, help="images in an update; 32 by default")
    parser.add_argument("--updates", type=positive, default=2, help="in one dispatch; 2 by default")
    parser.add_argument("--rounds", type=positive, default=3, help="in which the arms take turns; 3 by default")
    options = timing.parse(parser, "speed")
    known = (QUICK,) if options.quick else CASES
    if not (cases := [case for case in known if re.search(options.networks, case.name)]):
        parser.error(f"--networks {options.networks} is in none of {'; '.join(case.name for case in known)}")
    if not options.accelerator:
        timing.one_core()
    size = 256 if options.quick else 8192 if options.accelerator else 2048
    peaks = {dtype: matmul_peak(size, dtype) for dtype in options.dtypes}
    record = {
        **timing.machine(),
        "device": jax.devices()[0].device_kind,
        "batch": options.batch,
        "peak_flops": peaks,
        "rounds": options.rounds,
        "results": [],
    }
    for case, dtype in itertools.product(cases, options.dtypes):
        record["results"].append(compare(case, dtype, compile_arms(case, options, dtype), options, peaks[dtype]))
        timing.write(options.json, record)  # a borrowed device may go at any time
    rows = [row(result, name) for result in record["results"] for name in result["arms"]]
    columns = ["network", "arm", "dtype", "images/s", "MACs", "of peak", "memory", "speed by backprop's"]
    timing.report("Associated Learning and backpropagation", columns, rows, record, options.json)


if __name__ == "__main__":
    main()
