"""Tables of the paper hold what was measured, and rest on what the library promises."""

import json

import jax
import numpy as np
import optax
from support import assert_same_bits, first, make_batches, train

import al_jax as al
from al_jax.analysis.results import CIFAR_10_NOTE
from al_jax.analysis.tables import ablations, accuracy_table, digits, table_6, table_7


def summary(seed, *by_depth):
    return {
        "seed": seed,
        "accuracy_by_depth": by_depth,
        "epochs": 20,
        "processor": "a processor",
        "backend": "cpu",
        "config": {"seed": seed},
    }


def test_table_6_has_a_row_for_each_depth_of_the_network_of_three(tmp_path):
    runs = [summary(0, 0.97, 0.98, 0.985), summary(1, 0.98, 0.98, 0.995)]
    (tmp_path / "mnist_mlp_three.json").write_text(json.dumps({"name": "mnist_mlp_three", "runs": runs}))
    assert table_6(tmp_path).splitlines()[2:] == [
        "| 1 | 98.49 % | 97.50 ± 0.71 % | 0, 1 | 20 | a processor |",
        "| 2 | 98.60 % | 98.00 ± 0.00 % | 0, 1 | 20 | a processor |",
        "| 3 | 98.71 % | 99.00 ± 0.71 % | 0, 1 | 20 | a processor |",
    ]


def test_what_was_not_run_says_so(tmp_path):
    assert table_6(tmp_path).count("not run") == 3


def test_runs_of_both_lengths_stand_beside_each_other(tmp_path):
    write(tmp_path, "cifar_resnet", summary(0, 0.875))
    write(tmp_path, "cifar_resnet_short", {**summary(0, 0.25), "epochs": 1})
    write(tmp_path, "cifar_resnet_short_usual_backprop", summary(0, 0.5))
    write(tmp_path, "cifar_resnet_authors_short", summary(0, 0.75))
    cells = accuracy_table(tmp_path, 3).splitlines()[4].split(" | ")[4:-1]
    assert cells == [
        "not run",
        "not run",
        "50.00 %, 1 seed, 20 epochs (short)",
        "75.00 %, 1 seed, 20 epochs (short)",
        "87.50 %, 1 seed, 20 epochs; 25.00 %, 1 seed, 1 epoch (short)",
        "not run",
    ]
    assert accuracy_table(tmp_path, 3).splitlines()[2].split(" | ")[6] == "–"  # an MLP has no other network


def test_mnists_two_components_may_be_the_lower_ones_of_three(tmp_path):
    write(tmp_path, "mnist_mlp_three", summary(0, 0.25, 0.5, 0.75))
    cell = accuracy_table(tmp_path, 2).splitlines()[2].split(" | ")[8]
    assert cell == "50.00 %, 1 seed, 20 epochs (the first 2 of 3 components)"


def inspected(seed, distance, **config):
    distances = {"inter": distance, "intra": 2.0}
    analysis = {"distances": {"output": distances, "softmax": distances}}
    return {**summary(seed), "config": {"seed": seed, "dataset": "cifar10", **config}, "analysis": analysis}


def write(folder, name, *runs):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"name": name, "runs": runs}))


def test_a_full_run_that_was_not_inspected_does_not_hide_a_short_one_that_was(tmp_path):
    full, short = inspected(0, 9.0), inspected(0, 1.0)
    bare = {name: value for name, value in full.items() if name != "analysis"}
    write(tmp_path, "cifar_mlp", bare)
    write(tmp_path, "cifar_mlp_short", short)
    cells = table_7(tmp_path).splitlines()[2].split(" | ")
    assert cells[-1] == "1.00 / 2.00 = 0.50, 1 seed, 20 epochs (short) |"
    assert cells[-2] == "not run"
    write(tmp_path, "cifar_mlp", bare, inspected(1, 5.0))  # of the full runs the one that was inspected
    assert table_7(tmp_path).splitlines()[2].endswith(" | 5.00 / 2.00 = 2.50, 1 seed, 20 epochs |")
    write(tmp_path, "cifar_mlp", inspected(1, 5.0), inspected(2, 7.0))
    assert table_7(tmp_path).splitlines()[2].endswith(" | 6.00 / 2.00 = 3.00 ± 0.71, 2 seeds, 20 epochs |")


def test_the_note_on_test_images_stands_under_tables_of_cifar_10_alone(tmp_path):
    shown = {"test_accuracy": 0.5, "parameters": 8, "effective_parameters": 4}
    write(tmp_path / "ablations", "of_mnist", {**inspected(0, 1.0, dataset="mnist"), "analysis": {}, **shown})
    assert CIFAR_10_NOTE not in table_7(tmp_path) + ablations(tmp_path)
    write(tmp_path, "cifar_mlp_backprop", inspected(0, 1.0))
    write(tmp_path / "ablations", "of_cifar", {**inspected(0, 1.0), "analysis": {}, **shown})
    assert table_7(tmp_path).endswith(CIFAR_10_NOTE)
    assert ablations(tmp_path).endswith(CIFAR_10_NOTE)


def test_the_table_of_digits_names_the_network_that_was_trained(tmp_path):
    run = inspected(0, 1.0, dataset="digits", network="resnet8")
    write(tmp_path, "cifar_resnet_smoke", {**run, "accuracy_by_depth": [0.5, 0.75]})
    assert "| resnet8, cifar_resnet | not run | 75.00 %, 1 seed, 20 epochs |" in digits(tmp_path).splitlines()


def test_the_first_two_components_of_three_are_the_network_of_two():
    batches = make_batches(8)

    def trained(widths):
        network = al.associated(al.networks.mlp(widths), classes=4, code=5)
        trainer = al.sequential(network, optax.adam(1e-2), exact=True)
        return network, train_from_key(trainer, batches)

    two, shorter = trained([7, 6])
    three, taller = trained([7, 6, 5])
    assert_same_bits(taller[:2], shorter)
    image = batches["image"][0]
    scores = [
        network.predict([part.variables for part in components], image, depth=2)
        for network, components in ((two, shorter), (three, taller))
    ]
    np.testing.assert_array_equal(*scores)


def train_from_key(trainer, batches):
    return train(trainer, trainer.components(trainer.init(jax.random.key(0), first(batches))), batches)
