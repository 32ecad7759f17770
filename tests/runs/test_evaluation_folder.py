"""Files of an evaluation."""

from __future__ import annotations

from itertools import combinations

from boresight.runs.evaluation_folder import EvaluationFolder, _without_budgets

NAMES = ["a b", "a_b", "a/b", "a%b", "a%20b", "a.b", "a-b", "ab", "é", "e", "a:b", "../a"]


def test_no_two_systems_share_a_file(tmp_path):
    folder = EvaluationFolder(tmp_path)
    for one, other in combinations(NAMES, 2):
        assert folder.answers(one) != folder.answers(other)
        assert folder.problems(one) != folder.problems(other)


def test_ordinary_names_stand_as_they_are_and_none_leaves_the_folder(tmp_path):
    folder = EvaluationFolder(tmp_path)
    assert folder.answers("dpo-0.1_é").name == "answers-dpo-0.1_é.jsonl"
    assert folder.answers("a b").name == "answers-a%20b.jsonl"
    assert all(folder.answers(name).parent == tmp_path for name in NAMES)


def test_every_budget_may_be_raised_in_a_folder():
    """That of the recipe, of the judge, of what ranks completions and of judges that are rewards."""
    recipe = {
        "limit": 5,
        "budget": {"max_usd": 1},
        "judge": {"name": "llm", "budget": {"max_usd": 1}},
        "rank_by": {"name": "reward_server", "budget": {"max_requests": 500}},
        "reward": [{"function": "math", "judge": None}, {"judge": {"name": "llm", "budget": {"max_usd": 1}}}],
    }
    assert _without_budgets(recipe) == {
        "limit": 5,
        "judge": {"name": "llm"},
        "rank_by": {"name": "reward_server"},
        "reward": [{"function": "math", "judge": None}, {"judge": {"name": "llm"}}],
    }
    assert _without_budgets({"rank_by": None, "reward": None}) == {"rank_by": None, "reward": None}
