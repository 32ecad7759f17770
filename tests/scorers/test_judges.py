"""Judges: what they make of scores and replies, and that no failure becomes a number."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.config.reward import RewardConfig
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.llm.replies.reply import Reply
from boresight.scorers import judges
from boresight.scorers.judges import checks, llm, reward_endpoint
from boresight.scorers.judges.base import NO_ANSWER, Score, Scorer
from boresight.scorers.rewards import RewardSum
from tests.scorers.fakes import FakeEndpoint, LengthScorer, prompt


def test_every_judge_file_has_settings_and_a_way_to_build_it():
    assert judges.names() == [
        "checks", "countdown", "llm", "recorded", "reward_endpoint", "reward_model", "reward_server",
    ]  # fmt: skip
    for name in judges.names():
        assert callable(judges.get(name).build)
        assert judges.get(name).Config.model_config["extra"] == "forbid"
    with pytest.raises(UserError, match="did you mean 'llm'"):
        judges.get("lm")


# Scores ---------------------------------------------------------------------------------------------------


def test_the_higher_score_wins_and_a_missing_one_is_a_failure():
    judge = LengthScorer()
    found = judge.compare([prompt(i) for i in range(4)], ["aaa", "a", "aa", None], ["b", "bbb", "bb", "b"])
    assert [j.preference for j in found] == [1.0, 0.0, 0.5, None]
    assert found[0].scores == (3.0, 1.0)
    assert found[3].failure == NO_ANSWER


@given(st.lists(st.tuples(st.text("xy", max_size=4), st.text("xy", max_size=4)), min_size=1, max_size=6))
def test_swapping_the_answers_swaps_the_judgment(pairs):
    asked = [prompt(i) for i in range(len(pairs))]
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    there, back = LengthScorer().compare(asked, a, b), LengthScorer().compare(asked, b, a)
    assert [j.preference for j in there] == [1 - j.preference for j in back]


def test_an_answer_is_scored_once_unless_asked_again():
    judge = LengthScorer()
    asked = [prompt(0), prompt(1)]
    judge.compare(asked, ["a", "b"], ["c", "c"])
    judge.compare(asked, ["a", "b"], ["d", "c"])
    assert judge.scored == 5, "(0,a) (1,b) (0,c) (1,c), then (0,d)"
    judge.compare(asked, ["a", "b"], ["d", "c"], repeat=1)
    assert judge.scored == 9


def test_a_score_that_is_not_finite_is_a_failure():
    class Broken(Scorer):
        name = "broken"

        def score(self, prompts, answers, repeat=0):
            return [Score(math.nan if text == "nan" else 1.0) for text in answers]

    (found,) = Broken().compare([prompt(0)], ["nan"], ["fine"])
    assert found.preference is None and "not a finite number" in found.failure


# A reward endpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("reward:-12.5", -12.5), (" Reward: 3 \n", 3.0), ("reward:-1.5e1", -15.0), ("reward:+0.25", 0.25)],
)
def test_a_reward_is_read(text, value):
    assert reward_endpoint.read_reward(Reply(text)).value == value


@pytest.mark.parametrize(
    "text", ["", "12.5", "reward:", "reward:nan", "reward:inf", "reward:1 reward:2", "I rate it reward:5"]
)
def test_anything_else_is_no_reward(text):
    found = reward_endpoint.read_reward(Reply(text))
    assert found.value is None and found.failure.startswith("not a reward")


def test_a_reward_that_a_server_calls_cut_is_read_when_it_cannot_have_been():
    assert reward_endpoint.read_reward(Reply("reward:-25.625", "truncated")).value == -25.625
    long = "reward:-25." + "6" * reward_endpoint.LONGEST_REPLY
    assert reward_endpoint.read_reward(Reply(long, "truncated")).value is None
    assert reward_endpoint.read_reward(Reply("reward:1", "content_filter")).value is None


def test_the_answer_goes_out_as_the_assistants_turn_and_a_failed_call_is_missing():
    endpoint = FakeEndpoint(lambda r: Reply(f"reward:-{len(r.messages[-1]['content'])}"), fails={"lost"})
    judge = reward_endpoint.build(reward_endpoint.Config(model="m"), endpoint)
    found = judge.compare([prompt(0), prompt(1)], ["ab", "lost"], ["abcd", "a"])
    assert [j.preference for j in found] == [1.0, None]
    assert found[0].scores == (-2.0, -4.0) and found[1].failure == "timeout: request timed out after 60 s"
    assert [m["role"] for m in endpoint.requests[0].messages] == ["user", "assistant"]
    assert endpoint.requests[0].model == "m"


# A language model as judge --------------------------------------------------------------------------------


def llm_judge(answer, orders=2, fails=()):
    endpoint = FakeEndpoint(answer, fails)
    return llm.build(llm.Config(endpoint="http://here/v1", model="m", orders=orders), endpoint), endpoint


def slots(request):
    """The two answers in the order the judge saw them."""
    return re.findall(r"<answer-\d>\n(.*?)\n</answer-\d>", request.messages[0]["content"], re.S)


def longer(request):
    first, second = slots(request)
    choice = "TIE" if len(first) == len(second) else 1 if len(first) > len(second) else 2
    return Reply(f"Because.\nVERDICT: {choice}")


def test_both_orders_are_asked_and_a_consistent_winner_wins():
    judge, endpoint = llm_judge(longer)
    found = judge.compare([prompt(i) for i in range(3)], ["aaa", "a", "a"], ["b", "bbb", "b"])
    assert [j.preference for j in found] == [1.0, 0.0, 0.5]
    assert [slots(r) for r in endpoint.requests[:2]] == [["aaa", "b"], ["b", "aaa"]]
    assert [(v.first, v.preference) for v in found[0].verdicts] == [("a", 1.0), ("b", 1.0)]
    assert "a shown first: Because." in found[0].reasoning


def test_a_judge_that_likes_a_slot_says_nothing():
    judge, _ = llm_judge(lambda r: Reply("VERDICT: 1"))
    (found,) = judge.compare([prompt(0)], ["good"], ["bad"])
    assert found.preference == 0.5
    assert [v.preference for v in found.verdicts] == [1.0, 0.0]


def test_one_unreadable_order_leaves_the_pair_unjudged():
    judge, _ = llm_judge(lambda r: Reply("VERDICT: 1" if slots(r)[0] == "x" else "I cannot decide."))
    (found,) = judge.compare([prompt(0)], ["x"], ["y"])
    assert found.preference is None and "no verdict line" in found.failure
    judge, _ = llm_judge(longer, fails={"lost"})
    found = judge.compare([prompt(0), prompt(1)], ["lost", None], ["y", "y"])
    assert [(j.preference, j.failure) for j in found] == [
        (None, "timeout: request timed out after 60 s"),
        (None, NO_ANSWER),
    ]


def test_one_order_shows_about_half_of_the_pairs_the_other_way_round():
    judge, endpoint = llm_judge(longer, orders=1)
    found = judge.compare([prompt(i) for i in range(40)], ["aa"] * 40, ["b"] * 40)
    assert len(endpoint.requests) == 40 and {j.preference for j in found} == {1.0}
    assert 10 < sum(v.first == "b" for j in found for v in j.verdicts) < 30


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("VERDICT: 1", 1.0), ("**Verdict: 2**", 0.0), ("Verdict: tie.", 0.5),
        ("VERDICT: 1\nNo, on reflection:\nVERDICT: 2", 0.0), ("1", None), ("VERDICT: 3", None),
        ("I would not say VERDICT: 1 here", None),
        ("VERDICT: 1\nVERDICT: 2\nVERDICT: TIE", None), ("VERDICT: 2\n\n**VERDICT: 2**", 0.0),
    ],
)  # fmt: skip
def test_the_last_verdict_line_counts(text, preference):
    assert llm.read_verdict(Reply(text), "a")[0].preference == preference


def test_field_names_inside_an_answer_stay_as_they_are():
    judge, endpoint = llm_judge(longer)
    judge.compare([prompt(0)], ["{second} {conversation}"], ["b"])
    assert slots(endpoint.requests[0]) == ["{second} {conversation}", "b"]


def test_another_prompt_is_another_judge(tmp_path):
    own = tmp_path / "prompt.txt"
    own.write_text("{conversation} {first} {second} VERDICT:")
    endpoint = FakeEndpoint(longer)
    names = {
        llm.build(llm.Config(endpoint="http://here/v1", model="m", prompt=p), endpoint).name
        for p in (None, str(own))
    }
    assert len(names) == 2
    own.write_text("{conversation} {first}")
    with pytest.raises(UserError, match=r"lacks \{second\}"):
        llm.build(llm.Config(endpoint="http://here/v1", model="m", prompt=str(own)), endpoint)


# Programmes -----------------------------------------------------------------------------------------------

BOUND = {"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": 9}}}


def test_a_check_is_met_or_not_and_needs_its_constraint():
    judge = checks.build(checks.Config(check="constraint_met"))
    asked = [Prompt([], "a", BOUND), Prompt([], "b", {})]
    found = judge.compare(
        asked, ["Tea is a drink."] * 2, ["Tea is one of the many drinks that people drink."] * 2
    )
    assert [j.preference for j in found] == [1.0, None]
    assert found[1].failure == "the prompt carries no constraint"
    with pytest.raises(UserError, match="did you mean 'good_answer'"):
        checks.build(checks.Config(check="good_answr"))


def shouting(prompts, completions, rows):
    """A user's reward function."""
    return [float(text.count("!")) if text else None for text in completions]


def test_a_function_of_ones_own_judges_too():
    judge = checks.build(checks.Config(check=f"{__name__}:shouting"))
    found = judge.compare([prompt(0), prompt(1)], ["a!", ""], ["b", "b!"])
    assert [j.preference for j in found] == [1.0, None]
    assert found[1].failure == "the function declined to judge"


def test_a_verifier_is_one_function_in_one_file(tmp_path, monkeypatch):
    """Its file name is the name in recipes; None declines, and an error costs only the answer at hand."""
    (tmp_path / "says.py").write_text(
        "def score(prompt, answer, config):\n"
        "    return float(prompt.meta['word'] in answer) if answer else None\n"
    )
    monkeypatch.setattr(judges, "__path__", [*judges.__path__, str(tmp_path)])
    file = judges.get("says")
    settings = file.Config()
    judge = file.build(settings, None, None)
    assert (judge.name, judges.name_of(settings)) == ("says", "says")
    tea = Prompt([], "a", {"word": "tea"})
    found = judge.score([tea, tea, tea, Prompt([], "b")], ["tea", "coffee", "", "tea"])
    assert [score.value for score in found] == [1.0, 0.0, None, None]
    assert [score.declined for score in found] == [False, False, True, False]
    assert found[3].failure == "KeyError: 'word'"
    rewards = RewardSum([RewardConfig(judge={"name": "says"})])([tea, tea], ["tea", ""])
    assert rewards.by_function["says"][0] == 1.0 and rewards.missing == 1 and rewards.failures == []


def test_countdown_prefers_a_solution():
    """3 · 4 + 5 = 17."""
    problem = Prompt([], "p", {"nums": [3, 4, 5], "target": 17})
    right, wrong, none = "<answer>3*4+5</answer>", "<answer>3+4+5</answer>", "seventeen"
    countdown = judges.get("countdown")
    judge = countdown.build(countdown.Config())
    assert judge.name == "Countdown verifier, strict"
    found = judge.compare([problem] * 3, [right, wrong, right], [wrong, none, right])
    assert [j.preference for j in found] == [1.0, 0.5, 0.5]
    credit = countdown.build(countdown.Config(format_credit=0.1))
    assert credit.compare([problem], [wrong], [none])[0].scores == (0.1, 0.0)
    assert judge.compare([prompt(0)], [right], [wrong])[0].preference is None


def test_built_in_rewards_are_checks_too():
    prompts = [Prompt([], "p", {"numbers": [2, 3], "target": 5})]
    judge = checks.build(checks.Config(check="countdown_correct"))
    assert judge.score(prompts, ["<answer>2 + 3</answer>"])[0].value == 1.0
    with pytest.raises(UserError, match=r"unknown key options.tags"):
        checks.build(checks.Config(check="countdown_correct", options={"tags": []}))
    with pytest.raises(UserError, match=r"judge.options: the check good_answer has none"):
        checks.build(checks.Config(options={"tags": []}))
