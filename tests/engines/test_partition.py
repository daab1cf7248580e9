"""The best contiguous partition against brute force over all of them."""

import itertools
import math
import random

import pytest

from al_jax.engines.partition import best_partition, blocks_of, even_partition


def every_partition(components, stages):
    for cuts in itertools.combinations(range(1, components), stages - 1):
        yield tuple(end - start for start, end in itertools.pairwise((0, *cuts, components)))


def brute_force(costs, stages, memory, limit, sent):
    """Of all partitions the best by tick, memory, bytes sent, equal sizes, and larger lower blocks; None fits."""

    def rank(sizes):
        ends = list(itertools.accumulate(sizes))
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
        fullest = max(memory(*span) for span in spans)
        tick = max(math.fsum(costs[start:end]) for start, end in spans)
        between = sum(sent[end - 1] for end in ends[:-1])
        return fullest > limit, tick, fullest, between, sum(size**2 for size in sizes), [-size for size in sizes]

    best = min(every_partition(len(costs), stages), key=rank)
    return None if rank(best)[0] else best


def cases():
    """Costs that tie often and costs that never do, with and without limits, some of which nothing fits."""
    draw = random.Random(0)
    for number in range(1, 11):
        for _ in range(100):
            few = draw.random() < 0.6
            costs = [draw.randint(0, 3) if few else draw.random() for _ in range(number)]
            weights = [draw.randint(0, 4) for _ in range(number)]
            constant = draw.randint(0, 3)
            limit = draw.choice([math.inf, constant + draw.uniform(0.2, 1) * sum(weights)])
            sent = [draw.randint(0, 2) for _ in range(number)]
            yield costs, draw.randint(1, number), weights, constant, limit, sent


def test_it_is_the_best_of_all_partitions():
    found, limited, refused = set(), 0, 0
    for costs, stages, weights, constant, limit, sent in cases():

        def memory(start, end, weights=weights, constant=constant):
            return constant + sum(weights[start:end])

        expected = brute_force(costs, stages, memory, limit, sent)
        if expected is None:
            refused += 1
            with pytest.raises(ValueError, match="no partition"):
                best_partition(costs, stages, memory=memory, limit=limit, sent=sent)
            continue
        assert best_partition(costs, stages, memory=memory, limit=limit, sent=sent) == expected
        limited += expected != brute_force(costs, stages, memory, math.inf, sent)
        found.add(expected)
    assert len(found) > 60  # neither always the even one
    assert min(limited, refused) > 10  # nor limits without an effect


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


def test_the_refusal_says_which_limit_fits():
    def partition(limit):
        return best_partition([1, 1, 9], 2, memory=lambda start, end: 1000 * (end - start), limit=limit)

    with pytest.raises(ValueError, match=r"over 2 stages fits 1,999 bytes a device: give at least 2,000 bytes"):
        partition(1999)
    assert partition(2000) == (2, 1)


def test_blocks_cover_the_parts_in_order():
    assert blocks_of("abcdef", (1, 3, 2)) == [("a",), ("b", "c", "d"), ("e", "f")]
