"""The micro-batches of a run, call by call."""

from collections.abc import Generator

import numpy as np

from al_jax.data import batches_in_part, epoch_order
from al_jax.training.run import Run
from al_jax.types import Batch


def feed(run: Run, done: int) -> Generator[Batch, None, None]:
    """The micro-batches of every call after `done` updates, `([seeds,] M, B, ...)`, M the same in all calls.

    The last call of an epoch may have fewer: its batches are filled up with the first example, which the engine does
    not look at. Nothing is read ahead of the end of an epoch, where an evaluation reads other examples.
    """
    train, config = run.dataset.train, run.config
    calls = min(config.updates_per_call, run.updates_per_epoch)
    size = (calls * config.accumulate, config.batch_size // config.accumulate)
    seeds = np.asarray(run.seeds).reshape(-1, 1, 1) if config.augmentation == "resized_crop" else None
    needed = run.trainer.reads(*size) if run.trainer.reads else None
    begun, offset = divmod(done, run.updates_per_epoch)
    for epoch in range(begun, config.epochs):
        order = [epoch_order(seed, epoch, train.examples, config.batch_size)[offset:] for seed in run.seeds]
        fill = -len(order[0]) % calls
        indices = np.pad(np.stack(order), ((0, 0), (0, fill), (0, 0))).reshape(len(order), -1, *size)
        indices = indices.swapaxes(0, 1) if len(order) > 1 else indices[0]
        yield from batches_in_part(train, indices, needed, seeds, epoch)
        offset = 0
