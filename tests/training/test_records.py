"""metrics.jsonl and TensorBoard events hold every row at once, and no row twice after a resume."""

import struct

from tensorboardX.proto.event_pb2 import Event

from al_jax.training.records import METRICS, Records, read_rows


def events(workdir):
    """`(step, {tag: value})` of every event, in the order of the files; the records' checksums are not looked at."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            found.append((event.step, {value.tag: value.simple_value for value in event.summary.value}))
            content = content[16 + length :]
    return [(step, values) for step, values in found if values]


def test_a_row_is_on_the_disk_when_write_returns(tmp_path):
    records = Records(tmp_path, 0)
    records.write(3, loss=0.5, epoch=1)
    assert read_rows(tmp_path) == [{"update": 3, "loss": 0.5, "epoch": 1}]
    assert events(tmp_path) == [(3, {"loss": 0.5})]
    records.close()


def test_each_seed_has_a_curve_of_its_own(tmp_path):
    records = Records(tmp_path, 0)
    for seed in (4, 5):
        records.write(1, seed=seed, loss=0.25 * seed)
    records.close()
    assert events(tmp_path) == [(1, {"seed_4/loss": 1.0}), (1, {"seed_5/loss": 1.25})]


def test_a_resumed_run_writes_no_row_twice_and_survives_a_damaged_line(tmp_path):
    records = Records(tmp_path, 0)
    for update in (1, 2, 3):
        records.write(update, loss=float(update))
    records.close()
    lines = (tmp_path / METRICS).read_text().splitlines()
    damaged = [lines[0][:5], "3", '{"loss": 1.0}', "\xff", *lines[1:], '{"upd']
    (tmp_path / METRICS).write_text("\n".join(damaged), "latin-1")
    records = Records(tmp_path, 2)
    records.write(3, loss=3.5)
    records.close()
    assert [(row["update"], row["loss"]) for row in read_rows(tmp_path)] == [(2, 2.0), (3, 3.5)]
