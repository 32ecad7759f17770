"""Rewards are found by name, weighted, and a failure is missing and told, never zero."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from boresight.checks.run.reward import RewardProbe, reward_constant
from boresight.config.reward import RewardConfig
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.scorers.reward_function import BUILTIN, RewardFunction, load_reward
from boresight.scorers.rewards import RewardSum, check_rewards

ROWS = [{"numbers": [3, 4], "target": 7}] * 3
COMPLETIONS = ["<answer>3 + 4</answer>", "<answer>3 - 4</answer>", "?"]
PROMPTS = [Prompt([{"role": "user", "content": id}], id, row) for id, row in zip("abc", ROWS, strict=True)]


def length(prompts, completions, rows):
    return [len(c) for c in completions]


def fragile(prompts, completions, rows):
    if "?" in completions:
        raise RuntimeError("cannot judge a question mark")
    return [1.0] * len(completions)


def selective(prompts, completions, rows):
    return [None if "?" in c else 0.5 for c in completions]


def odd(prompts, completions, rows):
    return [1.0, math.inf, "2"]


def short(prompts, completions, rows):
    return [1.0]


def never(prompts, completions, rows):
    return [0.0] * len(completions)


def named(function):
    return f"{__name__}:{function.__name__}"


def rewarded(*configs):
    parsed = [RewardConfig(function=name, weight=weight) for name, weight in configs]
    return RewardSum(parsed)(PROMPTS, COMPLETIONS)


TEA = {"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": 15}}}
QUOTED = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
IFEVAL = ("ifeval", "ifeval_loose", "ifeval_share", "ifeval_share_loose")
SOLVED = {
    **dict.fromkeys(IFEVAL, (QUOTED, '"Paris"')),
    "constraints": (TEA, "Tea is a warm drink that people enjoy everywhere."),
    "whole_answer": (TEA, "Tea is a warm drink that people enjoy everywhere, and which many of them like."),
    "contains": ({"answer": "Paris"}, "The capital of France is Paris."),
    "exact": ({"answer": "Paris"}, "Paris"),
    "format": ({}, "<think>France?</think> <answer>Paris</answer>"),
    "math": ({"answer": "9 * 2 = 18\n#### 18"}, "The answer is $18."),
    "length": ({}, "The capital of France is Paris, as everybody knows."),
}
"""A row and a completion that earns everything; of the others, a Countdown problem."""


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_is_found_and_pays_one_for_a_solution(name):
    row, completion = SOLVED.get(name, (ROWS[0], COMPLETIONS[0]))
    assert load_reward(name)(["a"], [completion], [row]) == [1.0]


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_names_the_row_that_lacks_what_it_needs(name):
    row, _ = SOLVED.get(name, (ROWS[0], ""))
    function = RewardFunction(name)
    function.refuse_lacking([Prompt([], "whole", row)])
    if row:
        with pytest.raises(UserError, match=r"^row bare: "):
            function.refuse_lacking([Prompt([], "whole", row), Prompt([], "bare", {"other": 1})])


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_refuses_an_option_that_it_does_not_have(name):
    with pytest.raises(UserError, match=f"reward {name}: unknown key options.colum"):
        check_rewards([RewardConfig(function=name, options={"colum": 1})])


def test_the_total_is_the_weighted_sum():
    got = rewarded(("countdown", 1.0), (named(length), 0.01))
    assert got.by_function == {"countdown": [1.0, 0.1, 0.0], named(length): [22.0, 22.0, 1.0]}
    assert got.total == pytest.approx([1.22, 0.32, 0.01])
    assert got.missing == 0 and got.failures == []


def test_the_completion_that_raises_is_missing_and_told_and_the_others_are_judged():
    got = rewarded((named(fragile), 1.0), ("countdown", 1.0))
    assert got.total[:2] == [2.0, 1.1] and math.isnan(got.total[2])
    missing = {name: sum(map(math.isnan, values)) for name, values in got.by_function.items()}
    assert got.missing == 1 and missing == {named(fragile): 1, "countdown": 0}
    (failure,) = got.failures
    assert (failure.function, failure.index, failure.completion) == (named(fragile), 2, "?")
    assert failure.error == "RuntimeError: cannot judge a question mark"


def lacks_columns(prompts, completions, rows):
    """Raises for a batch, as a function of one prompt does, and then for a row without its column."""
    if len(completions) > 1:
        raise RuntimeError("one at a time")
    raise UserError("the column gold is missing; add it to the data.")


def test_data_that_lack_what_a_reward_needs_stop_the_run_one_by_one_too():
    with pytest.raises(UserError, match="the column gold is missing"):
        rewarded((named(lacks_columns), 1.0))


def test_a_reward_may_decline():
    got = rewarded((named(selective), 1.0))
    assert got.total[:2] == [0.5, 0.5] and math.isnan(got.total[2]) and got.failures == []


def test_what_is_not_a_finite_number_is_missing():
    got = rewarded((named(odd), 1.0))
    assert got.total[0] == 1.0 and got.missing == 2
    assert [f.index for f in got.failures] == [1, 2]


RETURNED: object = None


def of_odd_kind(prompts, completions, rows):
    return RETURNED


@pytest.mark.parametrize("result", [{0: 1.0, 1: 2.0, 2: 3.0}, {0.1, 0.2, 0.3}, "111", b"111"])
def test_what_holds_no_rewards_in_order_is_an_error(result, monkeypatch):
    """The keys of a mapping, the items of a set and the bytes of a text would be read as rewards."""
    monkeypatch.setitem(globals(), "RETURNED", result)
    with pytest.raises(UserError, match=f"returned a {type(result).__name__}; return a list"):
        rewarded((named(of_odd_kind), 1.0))


def changes_its_arguments(prompts, completions, rows):
    """As functions do that build the conversation for a judge in place."""
    found = [float(len(prompt)) for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        prompt.append({"role": "assistant", "content": "x"})
        row.clear()
    completions.clear()
    return found


def test_a_function_that_changes_its_arguments_changes_nothing_else():
    """Samples of one prompt share it: the second would be scored on the first one's conversation."""
    prompt = Prompt([{"role": "user", "content": "q"}], "a", {"answer": "4"})
    total = RewardSum([RewardConfig(function=named(changes_its_arguments)), RewardConfig(function="exact")])
    got = total([prompt, prompt], ["4", "5"])
    assert got.by_function == {named(changes_its_arguments): [1.0, 1.0], "exact": [1.0, 0.0]}
    assert len(prompt.prompt) == 1 and prompt.meta == {"answer": "4"}


def leaves(prompts, completions, rows):
    raise SystemExit(0)


def test_a_function_that_calls_exit_fails_and_ends_nothing(tmp_path, monkeypatch):
    got = rewarded((named(leaves), 1.0))
    assert got.missing == 3 and got.failures[0].error == "SystemExit: 0"
    (tmp_path / "leaves_at_import.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cannot import 'leaves_at_import' \(SystemExit: 0\)"):
        load_reward("leaves_at_import:reward")


def test_a_wrong_number_of_rewards_is_an_error():
    with pytest.raises(UserError, match="returned 1 rewards for 3 completions"):
        rewarded((named(short), 1.0))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("countdwn", "did you mean 'countdown'"),
        ("no_such_module_at_all:reward", "cannot import 'no_such_module_at_all'"),
        (f"{__name__}:lenght", "did you mean 'length'"),
        (f"{__name__}:ROWS", "has no function 'ROWS'"),
        ("boresight.tasks.countdown.rewards", "not built in"),
    ],
)
def test_what_cannot_be_found_is_named(name, complaint):
    with pytest.raises(UserError, match=complaint):
        load_reward(name)


def test_no_function_or_the_same_twice_is_an_error():
    with pytest.raises(UserError, match="no function is given"):
        RewardSum([])
    with pytest.raises(UserError, match="named twice"):
        RewardSum([RewardConfig(function="countdown"), RewardConfig(function="countdown", weight=2)])


def test_strict_built_in_functions_are_not_called_constant():
    """The constraint is met by none of the made-up answers; a function of the user may as well be broken."""
    prompts = [Prompt([{"role": "user", "content": "Tea?"}], "p", TEA)]
    found = {}
    for name in ("constraints", named(never)):
        rewards = RewardSum([RewardConfig(function=name)])
        probe = RewardProbe(rewards, prompts, rewards.of_user)
        assert set(probe.tried.total) == {0.0}
        found[name] = reward_constant(probe)
    assert found["constraints"] is None
    assert found[named(never)].name == "reward-constant"


def test_a_function_of_weight_0_is_measured_and_pays_nothing():
    configs = [RewardConfig(function="countdown"), RewardConfig(function="countdown_correct", weight=0)]
    prompts = [Prompt([], "p", {"numbers": [2, 3], "target": 5})] * 2
    earned = RewardSum(configs)(prompts, ["<answer>2 + 3</answer>", "<answer>2 * 3</answer>"])
    assert earned.total == pytest.approx([1.0, 0.1])
    assert earned.by_function["countdown_correct"] == [1.0, 0.0]


def test_a_monitor_that_declines_or_fails_leaves_the_total_alone():
    """`selective` declines the third answer, `fragile` raises on it; alone, countdown pays 1, 0.1 and 0."""
    got = rewarded(("countdown", 1.0), (named(selective), 0.0), (named(fragile), 0.0))
    assert got.total == [1.0, 0.1, 0.0] and got.missing == 0
    assert math.isnan(got.by_function[named(selective)][2])
    assert [failure.function for failure in got.failures] == [named(fragile)]


def test_rewards_that_are_all_monitors_are_refused():
    with pytest.raises(UserError, match="every weight is 0, so no answer earns anything"):
        rewarded(("countdown", 0.0), (named(length), 0.0))


RECIPES = Path(__file__).parents[2] / "recipes"


def rewarded_recipes():
    """The methods of all recipes that train by a reward, each with the names of its rewards by file."""
    raw = {file: yaml.safe_load(file.read_text()) for file in RECIPES.rglob("*.yaml")}
    return {
        file: (recipe["method"]["name"], {reward["function"] for reward in recipe["reward"]})
        for file, recipe in sorted(raw.items())
        if "method" in recipe and recipe.get("reward")
    }


REWARDED = rewarded_recipes()
FORM = {"countdown", "countdown_compat", "countdown_shaped", "format"}
"""Rewards that pay for the form of an answer, whether it is correct or not."""


def test_recipes_of_every_method_that_samples_are_looked_at():
    assert {"rloo", "grpo", "online_dpo", "xpo"} <= {method for method, _ in REWARDED.values()}
    assert any(named & FORM for _, named in REWARDED.values())


@pytest.mark.parametrize("file", REWARDED, ids=lambda file: f"{file.parent.stem}-{file.stem}")
def test_recipes_that_pay_for_form_measure_correctness_beside_it(file):
    """Or the monitor could not tell a policy that only learns the form."""
    _, named = REWARDED[file]
    assert not named & FORM or named & {"countdown_correct", "math"}


def test_a_constraint_that_cannot_be_checked_is_named_before_the_run():
    odd = {"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": "few"}}}
    with pytest.raises(UserError, match=r"^row odd: reward constraints fails on it \(TypeError"):
        RewardFunction("constraints").refuse_lacking([Prompt([], "odd", odd)])
