"""Whole runs on a tiny data set that is read from disk, against the same images in memory."""

import dataclasses

import numpy as np
import pytest

from al_jax.analysis.inspect import inspect
from al_jax.analysis.results import record
from al_jax.data import DataError, Dataset, Split, Stream, gather
from al_jax.training import loop, summary
from al_jax.training.config import default_config
from al_jax.training.digest import digest
from al_jax.training.records import read_json, read_rows
from al_jax.training.run import set_up

pytest.importorskip("grain")
CLASSES, EXAMPLES, SIDE = 12, 64, 8
SMALL = {"dataset": "imagenet2012", "components": 1, "width": 12, "code": 8, "epochs": 2, "batch_size": 10} | {
    "updates_per_call": 2,
    "validation": 8,
    "augmentation": "resized_crop",
    "normalisation": "imagenet",
    "exact": True,
}


class Photographs:
    """Random images, the class of each its number modulo 12."""

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, number):
        image = np.random.default_rng(number).integers(0, 256, (9 + number % 7, 12, 3), dtype=np.uint8)
        return {"image": image, "label": number % CLASSES}


def on_disk(source):
    stream = dataclasses.replace(Stream.of("photographs", source), side=SIDE)
    return Dataset("photographs", stream, stream.take(np.arange(20)), CLASSES)


@pytest.fixture
def photographs(monkeypatch):
    """Has runs find the photographs where the config asks for ImageNet."""
    dataset = on_disk(Photographs())
    monkeypatch.setattr("al_jax.training.run.load", lambda name, data_dir: dataset)
    return dataset


def train(workdir, interrupted=lambda: False, **fields):
    run = set_up(default_config(**(SMALL | fields)), workdir)
    return run, loop.Training(run, interrupted).finish()


@pytest.mark.slow
@pytest.mark.usefixtures("photographs")
def test_stopped_within_an_epoch_and_resumed_it_ends_in_the_same_digest(tmp_path):
    run, finished = train(tmp_path / "undisturbed")
    with pytest.raises(loop.Stopped, match="stopped after update 2 of 10 and saved"):
        train(tmp_path / "stopped", lambda: True)
    _, resumed = train(tmp_path / "stopped", updates_per_call=3)
    assert digest(resumed.components) == digest(finished.components)

    reached = summary.summarise(run, finished)
    for split in ("test", "validation", "train"):
        assert 0 <= reached[f"{split}_accuracy"] <= reached[f"{split}_top5_accuracy"] <= 1
    assert reached["top5_accuracy_by_depth"] == [reached["test_top5_accuracy"]]
    [*_, last] = [row for row in read_rows(run.workdir) if "epoch" in row]
    assert last["test_top5_accuracy"] == reached["test_top5_accuracy"]

    summary.write_summary(run, reached)
    (found,) = inspect(run.workdir)
    assert found["left_out"].startswith("distances, early exits and pictures, since the test images stay on disk")
    assert found["macs"]["training"][0] > 0
    assert len(found["codes"]) == 1
    record(tmp_path / "results.json", [run.workdir])
    assert {**read_json(tmp_path / "results.json")["runs"][0]["analysis"], "digest": found["digest"]} == found


@pytest.mark.slow
def test_uncropped_it_is_the_run_on_the_same_images_in_memory(photographs, monkeypatch, tmp_path):
    _, finished = train(tmp_path / "disk", augmentation="crop_flip")
    train_split, test = (Split(**gather(part, np.arange(part.examples))) for part in photographs[1:3])
    loaded = photographs._replace(train=train_split, test=test)
    monkeypatch.setattr("al_jax.training.run.load", lambda name, data_dir: loaded)
    _, in_memory = train(tmp_path / "memory", augmentation="crop_flip")
    assert digest(finished.components) == digest(in_memory.components)


def test_an_example_that_cannot_be_read_ends_the_run_in_one_sentence(monkeypatch, tmp_path):
    class Damaged(Photographs):
        def __getitem__(self, number):
            raise OSError("image file is truncated")

    monkeypatch.setattr("al_jax.training.run.load", lambda name, data_dir: on_disk(Damaged()))
    with pytest.raises(DataError, match=r"example \d+ of photographs cannot be read \(OSError: image file is trunc"):
        train(tmp_path)
