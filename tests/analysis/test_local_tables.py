"""Tables of local learning hold what was measured, and say where nothing was."""

import json
from pathlib import Path

from support import write_result

from al_jax.analysis import local_tables
from al_jax.analysis.local_tables import table_1, table_2, table_3, table_4, table_4_imagenet
from al_jax.analysis.published import with_variants
from al_jax.analysis.results import CIFAR_10_NOTE
from al_jax.analysis.tables import ablations
from al_jax.data import size_of, unit_range
from al_jax.training.command_line import read_config
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network
from al_jax.training.validation import validate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_errors_stand_beside_the_papers_with_their_effort(tmp_path):
    write_result(tmp_path / "local_learning_k8_infopro_man.json", 0.90, 0.92)
    write_result(tmp_path / "local_learning_short_k8_infopro.json", 0.5, examples=10_000)
    (row,) = [
        row for row in table_1(tmp_path, "CIFAR-10").splitlines() if row.startswith("| InfoPro | ResNet-32, K = 8")
    ]
    assert row == (
        "| InfoPro | ResNet-32, K = 8 | 11.51 | 9.32 | 50.00, 1 seed, 5 epochs of 10,000 images | "
        "9.00 ± 1.41, 2 seeds, 5 epochs |"
    )
    assert table_1(tmp_path, "CIFAR-10").endswith(f"Measured on a processor.\n\n{CIFAR_10_NOTE}")
    assert CIFAR_10_NOTE not in table_1(tmp_path, "SVHN") + table_4(tmp_path)


def test_errors_of_five_scores_stand_beside_those_of_the_first(tmp_path):
    path = tmp_path / "imagenet_k4_man.json"
    write_result(path, 0.75)
    found = json.loads(path.read_text())
    found["runs"][0]["test_top5_accuracy"] = 0.9375
    path.write_text(json.dumps(found))
    for table in (table_2(tmp_path), table_4_imagenet(tmp_path)):
        assert "| 21.73 / 5.81 | 25.00 / 6.25, 1 seed, 5 epochs |" in table


def test_memory_is_that_of_the_benchmark(tmp_path):
    path = tmp_path / "benchmarks" / "memory.json"
    path.parent.mkdir()
    arms = {"infopro, K = 2, cuts: man": {"arguments": 1_000_000_000, "temporaries": 2_340_000_000}}
    path.write_text(json.dumps({"networks": {"resnet101": {"arms": arms}}}))
    assert "| resnet101 | infopro, K = 2, cuts: man | 12.06 GB | 3.34 GB |" in table_3(tmp_path)


def test_every_cell_without_a_result_says_so(tmp_path):
    rows = 3 * 4 + 3 * 2 + 4  # rules by networks, by networks that MAN cuts otherwise, InfoPro as in its code
    assert table_1(tmp_path, "SVHN").count("not run") == 2 + 2 * rows
    assert [table(tmp_path).count("not run") for table in (table_2, table_3, table_4, table_4_imagenet)] == [
        18,
        15,
        18,
        4,
    ]


def test_every_cell_is_of_a_config_that_makes_a_network(tmp_path, monkeypatch):
    asked = set()

    def no_runs(results, config, *variants):
        asked.add(with_variants(config, *variants))
        return [], ""

    monkeypatch.setattr(local_tables, "runs_of", no_runs)
    table_1(tmp_path, "CIFAR-10")  # data sets differ in nothing that makes a network
    for table in (table_2, table_4, table_4_imagenet):
        table(tmp_path)
    assert len(asked) > 70
    for name in asked:
        stem, colon, variants = name.partition(":")
        config = read_config(f"{CONFIGS / stem}.py{colon}{variants}", {})
        validate(config)
        size = size_of(config.dataset)
        assert build_network(config, DataFacts(size.classes, size.image, unit_range()))


def test_ablations_list_costs(tmp_path):
    write_result(tmp_path / "ablations" / "one.json", 0.5)
    assert ablations(tmp_path).splitlines()[2] == "| one | – | 50.00 % | 1,234 | 1,000 | – | 1 seed, 5 epochs |"
