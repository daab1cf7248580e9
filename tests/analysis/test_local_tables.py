"""Tables of local learning hold what was measured, and say where nothing was."""

import json

from al_jax.analysis.local_tables import table_1, table_4
from al_jax.analysis.tables import ablations


def write(path, *accuracies, **config):
    runs = [
        {
            "seed": seed,
            "test_accuracy": accuracy,
            "epochs": 5,
            "processor": "a processor",
            "backend": "cpu",
            "parameters": 1234,
            "effective_parameters": 1000,
            "config": {"seed": seed, "examples": 0, **config},
        }
        for seed, accuracy in enumerate(accuracies)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"name": path.stem, "runs": runs}))


def test_errors_stand_beside_the_papers_with_their_effort(tmp_path):
    write(tmp_path / "local_learning_k8_infopro_man.json", 0.90, 0.92)
    write(tmp_path / "local_learning_k8_infopro_short.json", 0.5, examples=10_000)
    (row,) = [
        row for row in table_1(tmp_path, "CIFAR-10").splitlines() if row.startswith("| InfoPro | ResNet-32, K = 8")
    ]
    assert row == (
        "| InfoPro | ResNet-32, K = 8 | 11.51 | 9.32 | 50.00, 1 seed, 5 epochs of 10,000 images | "
        "9.00 ± 1.41, 2 seeds, 5 epochs |"
    )
    assert table_1(tmp_path, "CIFAR-10").endswith("Measured on a processor.")


def test_every_cell_without_a_result_says_so(tmp_path):
    assert table_1(tmp_path, "SVHN").count("not run") == 2 + 2 * 12
    assert table_4(tmp_path).count("not run") == 11


def test_ablations_list_costs(tmp_path):
    write(tmp_path / "ablations" / "one.json", 0.5)
    assert ablations(tmp_path).splitlines()[-1] == "| one | – | 50.00 % | 1,234 | 1,000 | – | 1 seed, 5 epochs |"
