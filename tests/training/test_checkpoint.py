"""A checkpoint is whole or it is not used."""

import shutil

import jax
import jax.numpy as jnp
import optax
import pytest
from support import assert_same_bits

from al_jax.training.checkpoint import SEAL, Checkpoints
from al_jax.training.digest import digest, named_leaves
from al_jax.training.errors import RunError
from al_jax.types import ComponentState


def make_components(scale=1.0):
    params = {"f": {"kernel": scale * jnp.arange(6.0).reshape(2, 3)}, "b": {"bias": jnp.ones(3)}}
    stats = {"batch_stats": {"mean": jnp.zeros(3)}}
    state = ComponentState(params, stats, optax.adam(0.1).init(params), jnp.int32(7), jnp.zeros(2, jnp.uint32))
    return state, state._replace(updates=jnp.int32(7))


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for updates in (5, 10, 15):
        checkpoints.save(updates, make_components(updates), {"wall_seconds": 1.5})
    checkpoints.close()
    return Checkpoints(tmp_path, keep=2)


SHAPES = jax.eval_shape(make_components)


def test_the_newest_are_kept_and_come_back_as_they_were(saved):
    assert saved.steps() == [15, 10]
    restored = saved.restore(SHAPES)
    assert restored.updates == 15
    assert restored.notes == {"wall_seconds": 1.5}
    assert_same_bits(restored.components, make_components(15))


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def damage_delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_delete])
def test_whatever_file_is_damaged_the_one_before_is_used(saved, damage):
    newest = saved.folder / "15"
    for path in [path for path in newest.rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        damage(path)
        assert saved.restore(SHAPES).updates == 10, path
        path.write_bytes(whole)
    assert saved.restore(SHAPES).updates == 15


def test_a_checkpoint_without_its_seal_was_never_finished(saved):
    (saved.folder / "15" / SEAL).unlink()
    assert saved.steps() == [10]


def test_the_last_whole_one_stays_until_a_newer_one_is(saved):
    damage_truncate(saved.folder / "15" / SEAL)
    (saved.folder / "12").mkdir()  # was being written when its process was killed
    resumed = Checkpoints(saved.folder.parent, keep=1)
    resumed.save(11, make_components(11), {})
    resumed.close()
    assert [path.name for path in saved.folder.iterdir()] == ["11"]
    assert saved.restore(SHAPES).updates == 11


def test_nothing_whole_is_refused_and_nothing_at_all_is_a_new_run(saved, tmp_path):
    for step in saved.steps():
        damage_truncate(saved.folder / str(step) / SEAL)
    with pytest.raises(RunError, match="none of the checkpoints"):
        saved.restore(SHAPES)
    assert Checkpoints(tmp_path / "elsewhere", keep=1).restore(SHAPES) is None


def test_another_networks_checkpoint_is_refused(saved):
    other = jax.eval_shape(lambda: make_components()[:1])
    wider = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*x.shape, 2), x.dtype), other)
    with pytest.raises(RunError, match="belong to another network"):
        saved.restore(wider)


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write a checkpoint") as refusal:
        Checkpoints(tmp_path, keep=1).save(1, make_components(), {})
    assert "\n" not in str(refusal.value)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(RunError, match="0 KiB are free") as refusal:
        Checkpoints(tmp_path, keep=1).save(1, make_components(), {})
    assert "\n" not in str(refusal.value)


def test_leaves_have_readable_names():
    assert "0/params/f/kernel" in named_leaves(make_components())


def test_the_digest_sees_every_leaf_but_the_keys():
    components = make_components()
    reference = digest(components)
    assert digest(jax.tree.map(jnp.copy, components)) == reference
    leaves, tree = jax.tree.flatten(components)
    changed = [
        digest(jax.tree.unflatten(tree, [*leaves[:i], x + x.dtype.type(1), *leaves[i + 1 :]]))
        for i, x in enumerate(leaves)
    ]
    assert sum(other == reference for other in changed) == 2, "only the two keys do not count"
    assert len(set(changed)) == len(leaves) - 1
