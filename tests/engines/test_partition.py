"""The best contiguous partition against brute force over all of them."""

import itertools
import math
import random

import pytest

from al_jax.engines.partition import best_partition, blocks_of, even_partition


def every_partition(components, stages):
    for cuts in itertools.combinations(range(1, components), stages - 1):
        yield tuple(end - start for start, end in itertools.pairwise((0, *cuts, components)))


def brute_force(costs, stages, memory, sent):
    """Of all partitions the best by tick, memory, bytes sent, equal sizes, and larger lower blocks."""

    def rank(sizes):
        ends = list(itertools.accumulate(sizes))
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
        fullest = max(memory(*span) for span in spans)
        tick = max(math.fsum(costs[start:end]) for start, end in spans)
        between = sum(sent[end - 1] for end in ends[:-1])
        return tick, fullest, between, sum(size**2 for size in sizes), [-size for size in sizes]

    return min(every_partition(len(costs), stages), key=rank)


def cases():
    """Costs that tie often and costs that never do."""
    draw = random.Random(0)
    for number in range(1, 11):
        for _ in range(100):
            few = draw.random() < 0.6
            costs = [draw.randint(0, 3) if few else draw.random() for _ in range(number)]
            weights = [draw.randint(0, 4) for _ in range(number)]
            sent = [draw.randint(0, 2) for _ in range(number)]
            yield costs, draw.randint(1, number), weights, draw.randint(0, 3), sent


def test_it_is_the_best_of_all_partitions():
    found = set()
    for costs, stages, weights, constant, sent in cases():

        def memory(start, end, weights=weights, constant=constant):
            return constant + sum(weights[start:end])

        expected = brute_force(costs, stages, memory, sent)
        assert best_partition(costs, stages, memory=memory, sent=sent) == expected
        found.add(expected)
    assert len(found) > 60  # and not always the even one


def test_without_memory_and_signals_it_is_the_even_one_where_all_costs_are_equal():
    for number, stages in [(1, 1), (5, 5), (7, 3), (8, 3), (55, 8)]:
        assert best_partition([0.1] * number, stages) == even_partition(number, stages)


def test_one_stage_and_one_component_each_leave_no_choice():
    assert best_partition([3, 1, 2], 1) == (3,)
    assert best_partition([3, 1, 2], 3) == (1, 1, 1)
    assert best_partition([0, 0, 0], 2) == (2, 1)


@pytest.mark.parametrize("stages", [0, 4])
def test_more_stages_than_components_are_refused(stages):
    with pytest.raises(ValueError, match=f"{stages} stages for 3 components: use at most one stage a component"):
        best_partition([1, 1, 1], stages)


def test_blocks_cover_the_parts_in_order():
    assert blocks_of("abcdef", (1, 3, 2)) == [("a",), ("b", "c", "d"), ("e", "f")]
