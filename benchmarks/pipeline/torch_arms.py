"""The same network in PyTorch: backpropagation on one core, and torch.distributed.pipelining on two gloo ranks.

The strong external baseline. It is given what it is fastest with: fused Adam, and stages cut where the JAX pipelines
are cut. Its parameters are drawn anew, so it shares speed and not numbers with the other arms.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from al_jax.networks.vanilla_cnn import LAYERS
from benchmarks import timing
from benchmarks.pipeline.cases import CLASSES, LEARNING_RATE, Case
from benchmarks.pipeline.costs import forget_peak, peak_bytes
from benchmarks.workers import Functions

RANKS = 2


class Trained(NamedTuple):
    """Bytes that the process grew by while it made the arm and ran it once; None off Linux."""

    memory: int | None


def one_core(case: Case) -> Functions:
    """`train(micro_batches)`, whose gradients are averaged for an update, comes first; `time` measures a repetition."""
    warm_up()
    arms, (images, labels) = {}, batches_of(case)

    def make(micro_batches: int):
        model, loss = nn.Sequential(*layers_of(case)), nn.CrossEntropyLoss()
        optimizer = adam(model)

        def update(m):
            optimizer.zero_grad()
            for image, label in zip(images[m].chunk(micro_batches), labels[m].chunk(micro_batches), strict=True):
                (loss(model(image.float() / 255), label) / micro_batches).backward()
            optimizer.step()

        return update

    def train(micro_batches: int) -> Trained:
        arms[micro_batches], memory = repetition(lambda: make(micro_batches), case.updates)
        return Trained(memory)

    return {"train": train, "time": lambda micro_batches: arms[micro_batches]()}


def two_ranks(rank: int, address: str, case: Case, schedule: str, sizes: Sequence[int]) -> Functions:
    """As on one core; `schedule` is `GPipe` or `1F1B`, `sizes` are the layers of each stage."""
    warm_up()
    dist.init_process_group("gloo", init_method=f"tcp://{address}", rank=rank, world_size=RANKS)
    arms, (images, labels) = {}, batches_of(case)

    def make(micro_batches: int):
        first = sum(sizes[:rank])
        model = nn.Sequential(*layers_of(case)[first : first + sizes[rank]])
        stage = PipelineStage(model, rank, RANKS, torch.device("cpu"))
        kind = {"GPipe": ScheduleGPipe, "1F1B": Schedule1F1B}[schedule]
        run = kind(stage, micro_batches, loss_fn=nn.CrossEntropyLoss())
        optimizer = adam(model)

        def update(m):
            optimizer.zero_grad()
            if rank == 0:
                run.step(images[m].float() / 255)
            else:
                run.step(target=labels[m])
            optimizer.step()

        return update

    def train(micro_batches: int) -> Trained:
        arms[micro_batches], memory = repetition(lambda: make(micro_batches), case.updates)
        return Trained(memory)

    def time(micro_batches: int) -> timing.Sample:
        dist.barrier()
        return arms[micro_batches]()

    return {"train": train, "time": time}


def layers_of(case: Case) -> list[Any]:
    """The layers of `al.backprop` in their order: blocks, bridge, decoders, head."""
    if case.widths:
        pairs = itertools.pairwise((case.image[0] * case.image[1] * case.image[2], *case.widths))
        blocks = [nn.Sequential(nn.Linear(*pair), nn.ELU()) for pair in pairs]
        blocks[0].insert(0, nn.Flatten())
        entering = [nn.Identity()], case.widths[-1]
    else:
        pairs = itertools.pairwise((case.image[2], *(channels for channels, _ in LAYERS)))
        convolutions = [
            (nn.Conv2d(*pair, 3, stride, padding=1), nn.ELU()) for pair, (_, stride) in zip(pairs, LAYERS, strict=True)
        ]
        blocks = [
            nn.Sequential(*below, *above) for below, above in zip(convolutions[::2], convolutions[1::2], strict=True)
        ]
        entering = [nn.AdaptiveAvgPool2d(2), nn.Flatten()], 4 * LAYERS[-1][0]
    pooling, width = entering
    hidden = case.expansion * case.code
    bridge = nn.Sequential(*pooling, nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, case.code), nn.ReLU())
    decoders = [nn.Sequential(nn.Linear(case.code, case.code), nn.ReLU()) for _ in blocks[1:]]
    return [*blocks, bridge, *decoders, nn.Linear(case.code, CLASSES)]


def warm_up() -> None:
    """One thread, and what the library needs for itself before anything is measured."""
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.LazyLinear(8))
    nn.CrossEntropyLoss()(model(torch.ones(8, 1, 8, 8)), torch.zeros(8).long()).backward()
    adam(model).step()


def adam(model):
    return torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)


def batches_of(case: Case):
    batches = case.batches()
    return torch.from_numpy(batches["image"]).permute(0, 1, 4, 2, 3).contiguous(), torch.from_numpy(
        batches["label"]
    ).long()


def repetition(make: Callable[[], Callable[[int], None]], updates: int):
    """A function that measures so many updates, after a first one of them, and the bytes it all took."""
    forget_peak()
    before = peak_bytes("VmRSS")
    update = make()

    def run():
        for m in range(updates):
            update(m)

    run()
    memory = None if before is None else peak_bytes() - before
    return lambda: timing.measure(run), memory
