"""Tables of local learning hold what was measured, and say where nothing was."""

from support import write_result

from al_jax.analysis.local_tables import table_1, table_4
from al_jax.analysis.markdown import CIFAR_10_NOTE
from al_jax.analysis.tables import ablations


def test_errors_stand_beside_the_papers_with_their_effort(tmp_path):
    write_result(tmp_path / "local_learning_k8_infopro_man.json", 0.90, 0.92)
    write_result(tmp_path / "local_learning_k8_infopro_short.json", 0.5, examples=10_000)
    (row,) = [
        row for row in table_1(tmp_path, "CIFAR-10").splitlines() if row.startswith("| InfoPro | ResNet-32, K = 8")
    ]
    assert row == (
        "| InfoPro | ResNet-32, K = 8 | 11.51 | 9.32 | 50.00, 1 seed, 5 epochs of 10,000 images | "
        "9.00 ± 1.41, 2 seeds, 5 epochs |"
    )
    assert table_1(tmp_path, "CIFAR-10").endswith(f"Measured on a processor.\n\n{CIFAR_10_NOTE}")
    assert CIFAR_10_NOTE not in table_1(tmp_path, "SVHN") + table_4(tmp_path)


def test_every_cell_without_a_result_says_so(tmp_path):
    assert table_1(tmp_path, "SVHN").count("not run") == 2 + 2 * 12
    assert table_4(tmp_path).count("not run") == 11


def test_ablations_list_costs(tmp_path):
    write_result(tmp_path / "ablations" / "one.json", 0.5)
    assert ablations(tmp_path).splitlines()[-1] == "| one | – | 50.00 % | 1,234 | 1,000 | – | 1 seed, 5 epochs |"
