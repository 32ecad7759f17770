"""Generated sets are apart where they must be."""

from __future__ import annotations

from boresight.data.reading.sources.generated import read_generated
from boresight.tasks.countdown import problem_of


def keys(name: str) -> list[str]:
    examples = read_generated(f"generate:countdown-tiny-{name}").examples
    return [problem_of(example.meta, name).key for example in examples]


def test_problems_to_test_by_are_trained_on_and_measured_by_nowhere_else():
    """705 problems, each in all orders of its numbers: 6, or 3 where two are equal, or 1."""
    test = keys("test")
    assert (len(test), len(set(test))) == (3_822, 705)
    for name in ("problems", "solutions", "held-out"):
        assert set(test).isdisjoint(keys(name))


def test_orders_of_a_problem_to_test_by_are_one_cluster_and_have_ids_of_their_own():
    prompts = read_generated("generate:countdown-tiny-test").examples
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert all(prompt.meta["problem"] == problem_of(prompt.meta, "").key for prompt in prompts)
    assert len({prompt.meta["problem"] for prompt in prompts[:100]}) > 80  # the first ones are a fair draw
