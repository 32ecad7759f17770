"""Reward functions of both conventions are told apart and called as they expect to be."""

from __future__ import annotations

import functools
import json
import math

import pytest
import torch

from boresight.config.reward import RewardConfig
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.load import read
from boresight.scorers.conventions import OwnReward, RewardBatch, TrlReward, bind_reward
from boresight.scorers.reward_function import RewardFunction
from boresight.scorers.rewards import RewardSum

CHAT = [{"role": "user", "content": "2 + 2?"}]
AS_CHAT = Prompt(CHAT, "a", {"answer": "4", "level": 2})
AS_TEXT = Prompt(CHAT, "b", {"answer": "4", "level": 3}, as_text=True)


def call(function, prompts, completions, ids=None, **options):
    return bind_reward(function, "mine:f", options)(RewardBatch(prompts, completions, ids))


def own(prompts, completions, rows):
    return [(p[0]["content"], c, r["level"]) for p, c, r in zip(prompts, completions, rows, strict=True)]


def positional(p, c, r):
    return own(p, c, r)


def own_with_options(prompts, completions, rows, *, scale: float = 1.0, word: str = "x"):
    return [scale * c.count(word) for c in completions]


def trl_documented(prompts, completions, ground_truth=None, level=(), **kwargs):
    return list(zip(prompts, completions, level, strict=True))


class Counter:
    """TRL takes any object that can be called."""

    def __call__(self, completions, **kwargs):
        return [len(completion[0]["content"]) for completion in completions]


def with_a_cache(prompts, completions, rows, *, scale: np.flaot64 = 2.0, _cache={}):  # noqa: B006, F821
    return [scale for _ in completions]


def test_parameters_of_its_own_and_annotations_that_do_not_exist_are_left_alone():
    assert call(with_a_cache, [AS_CHAT], ["x"]) == [2.0] and call(
        with_a_cache, [AS_CHAT], ["x"], scale=3
    ) == [3]
    with pytest.raises(UserError, match=r"unknown key options\._cache"):
        call(with_a_cache, [AS_CHAT], ["x"], _cache={})


def test_the_own_convention_is_called_by_position():
    expected = [("2 + 2?", "four", 2)]
    assert call(own, [AS_CHAT], ["four"]) == call(positional, [AS_CHAT], ["four"]) == expected
    assert call(lambda *lists: own(*lists), [AS_CHAT], ["four"]) == expected


def test_trl_functions_are_given_strings_or_messages_as_the_data_have_them():
    assert call(trl_documented, [AS_TEXT], ["four"]) == [("2 + 2?", "four", 3)]
    assert call(trl_documented, [AS_CHAT], ["four"]) == [
        (CHAT, [{"role": "assistant", "content": "four"}], 2)
    ]


def test_what_is_not_asked_for_is_not_given():
    """As in TRL the function names what it takes; here it need not take the rest."""
    assert call(lambda completions, level: [*level], [AS_TEXT], [""]) == [3]
    assert call(lambda completions: [1.0], [AS_TEXT], [""]) == [1.0]
    assert call(Counter(), [AS_CHAT], ["four"]) == [4]
    assert call(functools.partial(trl_documented, other=7), [AS_TEXT], ["x"]) == [("2 + 2?", "x", 3)]


def test_tokens_and_loggers_are_given_to_those_who_ask():
    def by_tokens(completion_ids, log_metric, log_extra, trainer_state=None, **kwargs):
        log_metric("length", 2.0)
        log_extra("text", ["a"])
        return [float(len(ids)) for ids in completion_ids]

    assert call(by_tokens, [AS_TEXT], ["four"], ids=[[5, 6, 7]]) == [3.0]


def test_all_columns_reach_a_function_that_takes_any():
    def any_column(**kwargs):
        assert {"prompts", "completions", "answer", "level"} <= set(kwargs) and "rows" not in kwargs
        return [len(kwargs["solution"][0])]  # the file's own name of what is read as the answer

    assert call(any_column, [AS_TEXT], ["x"]) == [1]


def test_a_column_that_some_rows_lack_is_none_there():
    rows = [AS_TEXT, Prompt(CHAT, "c", {"hint": "h"}, as_text=True)]
    assert call(lambda completions, hint, **kwargs: hint, rows, ["", ""]) == [None, "h"]


def test_a_coroutine_is_awaited_also_inside_a_running_loop():
    import asyncio

    async def slow(prompts, completions, **kwargs):
        await asyncio.sleep(0)
        return [0.5 for _ in completions]

    async def notebook():
        return call(slow, [AS_TEXT], ["x"])

    assert call(slow, [AS_TEXT], ["x"]) == asyncio.run(notebook()) == [0.5]


def test_tensors_and_generators_are_read():
    assert call(lambda completions, **kw: torch.tensor([0.5]), [AS_TEXT], ["x"]) == [0.5]
    assert call(lambda p, c, r: (len(x) for x in c), [AS_TEXT], ["x"]) == [1]


def test_options_are_checked_against_the_signature():
    assert call(own_with_options, [AS_TEXT], ["xyx"], scale=2) == [4.0]
    with pytest.raises(UserError, match=r"mine:f: unknown key options.scael; did you mean 'options.scale'"):
        bind_reward(own_with_options, "mine:f", {"scael": 2})
    with pytest.raises(UserError, match=r"options.scale is 'much'"):
        bind_reward(own_with_options, "mine:f", {"scale": "much"})
    with pytest.raises(UserError, match=r"unknown key options.scale; known: "):
        bind_reward(own, "mine:f", {"scale": 1.0})


def test_options_of_a_trl_function_are_its_named_parameters():
    def taxed(completions, tax=0.0, **kwargs):
        return [1 - tax for _ in completions]

    assert call(taxed, [AS_TEXT], ["x"], tax=0.25) == [0.75]
    with pytest.raises(UserError, match=r"unknown key options.tex; did you mean 'options.tax'"):
        bind_reward(taxed, "mine:f", {"tex": 1})


def needs_state(completions, trainer_state, **kwargs):
    return [1.0]


def unclear(prompts, completions, answer):
    return [1.0]


def rows_by_name(completions, rows):
    return [1.0]


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (needs_state, "asks for trainer_state, which only TRL has; give the parameter the default None"),
        (unclear, r"call it rows .* or add \*\*kwargs to be given the column answer"),
        (rows_by_name, r"takes \(completions, rows\); write it as \(prompts, completions, rows\)"),
        (Counter, "is a class; name a function, or an instance"),
    ],
)
def test_a_signature_that_fits_neither_or_both_is_refused(function, complaint):
    with pytest.raises(UserError, match=complaint):
        bind_reward(function, "mine:f", {})


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (own, OwnReward),
        (positional, OwnReward),
        (own_with_options, OwnReward),
        (lambda prompts, completions, rows, **rest: [1.0], OwnReward),
        (trl_documented, TrlReward),
        (lambda prompts, completions, completion_ids: [1.0], TrlReward),
        (lambda completions, answer: [1.0], TrlReward),
        (lambda **kwargs: [1.0], TrlReward),
    ],
)
def test_the_signature_decides(function, kind):
    assert type(bind_reward(function, "mine:f", {})) is kind


def asks_for_solution(completions, solution, **kwargs):
    """As TRL's `accuracy_reward`: None where the solution cannot be read."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [None if s == "?" else float(s in t) for s, t in zip(solution, texts, strict=True)]


@pytest.mark.parametrize("prompt", ["2 + 2?", CHAT], ids=["standard", "conversational"])
def test_a_data_set_for_trl_gives_its_solution_to_the_function(tmp_path, prompt):
    rows = [{"prompt": prompt, "solution": s} for s in ("4", "5", "?")]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = read(tmp_path / "set.jsonl", kind="prompt").examples
    assert {p.as_text for p in prompts} == {isinstance(prompt, str)}
    rewards = RewardSum([RewardConfig(function=f"{__name__}:asks_for_solution")])
    rewards.refuse_lacking(prompts)
    total = rewards(prompts, ["It is 4."] * 3).total
    assert total[:2] == [1.0, 0.0] and math.isnan(total[2])


def test_a_column_that_no_row_has_is_refused_before_the_run():
    function = RewardFunction(f"{__name__}:asks_for_solution")
    with pytest.raises(UserError, match="asks for the column solution, which no row has; known: level"):
        function.refuse_lacking([Prompt(CHAT, "a", {"level": 1})] * 2)


def test_a_row_that_lacks_what_a_builtin_needs_is_named_before_the_run():
    rows = [Prompt(CHAT, "fine", {"numbers": [1, 2], "target": 3}), Prompt(CHAT, "bare", {"target": 3})]
    with pytest.raises(UserError, match=r"^row bare: .*not a Countdown problem"):
        RewardFunction("countdown").refuse_lacking(rows)
    RewardFunction("countdown").refuse_lacking(rows[:1])


def test_options_stand_beside_a_function_only():
    with pytest.raises(ValueError, match="options are for a function"):
        RewardConfig(judge={"name": "length"}, options={"a": 1})
