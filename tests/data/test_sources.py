"""Every layout: a record as the layout has it, and the example it stands for."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Labeled, Preference, Prompt
from boresight.data.layouts import all_layouts, fitting, get, names
from boresight.data.layouts.hh_rlhf import transcript
from boresight.data.reading import load
from boresight.data.reading.turns import BadField
from boresight.tasks import countdown


def u(content: str) -> dict:
    return {"role": "user", "content": content}


def a(content: str) -> dict:
    return {"role": "assistant", "content": content}


def s(content: str) -> dict:
    return {"role": "system", "content": content}


def part(content: str) -> list:
    return [{"type": "text", "value": content}]


Q, GOOD, BAD = [u("q")], [a("good")], [a("bad")]
HH = "\n\nHuman: q\n\nAssistant:"
PAIR = Preference(Q, GOOD, BAD, "7")
SHOWN = Demonstration(Q + GOOD, "7")
ASKED = Prompt(Q, "7")
COUNTDOWN = replace(countdown.countdown_prompt(countdown.problem([3, 4], 7)), id="7")

LAYOUTS = [
    ("plain_pairs", {"prompt": "q", "chosen": "good", "rejected": "bad"}, PAIR),
    ("ultrafeedback", {"prompt": "q", "chosen": Q + GOOD, "rejected": Q + BAD}, PAIR),
    ("ultrafeedback", {"prompt": "q", "chosen": GOOD, "rejected": BAD}, PAIR),
    ("ultrafeedback", {"prompt": "q", "chosen": Q + GOOD, "rejected": Q + BAD, "messages": Q + GOOD}, PAIR),
    (
        "plain_pairs",
        {"system": "S", "question": "q", "chosen": "good", "rejected": "bad"},
        Preference([s("S"), *Q], GOOD, BAD, "7"),
    ),
    ("plain_pairs", {"prompt": "q", "response_w": "good", "response_l": "bad"}, PAIR),
    ("plain_pairs", {"query": "q", "chosen_response": "good", "rejected_response": "bad"}, PAIR),
    ("trl_pairs", {"prompt": Q, "chosen": GOOD, "rejected": BAD}, PAIR),
    ("trl_pairs", {"prompt": Q, "chosen": Q + GOOD, "rejected": Q + BAD}, PAIR),
    ("trl_implicit", {"chosen": Q + GOOD, "rejected": Q + BAD}, PAIR),
    ("hh_rlhf", {"chosen": HH + " good", "rejected": HH + " bad"}, PAIR),
    ("hh_rlhf", {"prompt": HH, "chosen": " good", "rejected": " bad"}, PAIR),
    (
        "sharegpt_pairs",
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        PAIR,
    ),
    (
        "message_pairs",
        {
            "chosen_messages": [
                {"role": "user", "content": part("q"), "loss_weight": 0.0},
                {"role": "assistant", "content": part("good"), "loss_weight": 1.0},
            ],
            "rejected_messages": [
                {"role": "user", "content": part("q"), "loss_weight": 0.0},
                {"role": "assistant", "content": part("bad"), "loss_weight": 1.0},
            ],
        },
        replace(
            PAIR,
            chosen=[{"role": "assistant", "content": "good", "weight": 1}],
            rejected=[{"role": "assistant", "content": "bad", "weight": 1}],
        ),
    ),
    (
        "openai_pairs",
        {
            "input": {"messages": Q, "tools": [], "parallel_tool_calls": True},
            "preferred_output": GOOD,
            "non_preferred_output": BAD,
        },
        replace(PAIR, meta={"parallel_tool_calls": True}),
    ),
    ("openai_pairs", {"input": {"messages": Q}, "preferred_output": GOOD, "non_preferred_output": BAD}, PAIR),
    ("alpaca_pairs", {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"}, PAIR),
    ("stack_exchange", {"question": "q", "response_j": "good", "response_k": "bad"}, PAIR),
    (
        "nectar",
        {
            "prompt": HH,
            "answers": [
                {"answer": "bad", "model": "m", "rank": 3},
                {"answer": "good", "model": "n", "rank": 1},
                {"answer": "so", "model": "o", "rank": 2},
            ],
        },
        PAIR,
    ),
    (
        "verdicts",
        {"prompt": "q", "completion_a": "good", "completion_b": "bad", "preference": 0.75},
        replace(PAIR, chosen_score=0.75, rejected_score=0.25),
    ),
    (
        "verdicts",
        {"prompt": Q, "answer_a": "bad", "answer_b": "good", "winner": "b", "rater": "x"},
        replace(PAIR, chosen_score=1.0, rejected_score=0.0, meta={"rater": "x"}),
    ),
    (
        "verdicts",
        {"question": "q", "response_a": "good", "response_b": "bad", "votes": {"a": 2, "b": 1, "tie": 1}},
        replace(PAIR, chosen_score=0.625, rejected_score=0.375),
    ),
    ("helpsteer3", {"context": Q, "response1": "good", "response2": "bad", "overall_preference": -2}, PAIR),
    ("helpsteer3", {"context": Q, "response1": "bad", "response2": "good", "overall_preference": 1}, PAIR),
    ("plain_answers", {"prompt": "q", "completion": "good"}, SHOWN),
    ("plain_answers", {"prompt": "q", "response": "good"}, SHOWN),
    ("plain_answers", {"query": "q", "completion": "good"}, SHOWN),
    ("plain_answers", {"question": "q", "response": "good"}, SHOWN),
    ("plain_answers", {"prompt": "q", "answer": "good"}, SHOWN),
    (
        "plain_answers",
        {"problem": "q", "solution": "good", "answer": "72"},
        Demonstration(Q + GOOD, "7", {"answer": "72"}),
    ),
    ("trl_answers", {"prompt": Q, "completion": GOOD}, SHOWN),
    ("messages", {"messages": Q + GOOD}, SHOWN),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}]},
        SHOWN,
    ),
    ("alpaca", {"instruction": "q", "input": "", "output": "good"}, SHOWN),
    ("question_answer", {"question": "q", "answer": "good"}, SHOWN),
    ("seed_tasks", {"instruction": "q", "instances": [{"input": "", "output": "good"}]}, SHOWN),
    ("unpaired", {"messages": Q + GOOD, "label": True}, Labeled(Q, GOOD, True, "7")),
    (
        "unpaired",
        {"prompt": "q", "completion": "good", "label": False},
        Labeled(Q, GOOD, False, "7"),
    ),
    (
        "unpaired",
        {"prompt": Q, "completion": GOOD, "label": True},
        Labeled(Q, GOOD, True, "7"),
    ),
    *[
        ("unpaired", {**answered, column: label}, Labeled(Q, GOOD, good, "7"))
        for answered in (
            {"messages": Q + GOOD},
            {"prompt": "q", "response": "good"},
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}]},
            {"instruction": "q", "input": "", "output": "good"},
            {"question": "q", "answer": "good"},
        )
        for column, label, good in (
            ("label", 0, False),
            ("label", 1.0, True),
            ("label", "True", True),
            ("kto_tag", False, False),
            ("desirable", "undesirable", False),
            ("is_correct", False, False),
            ("correct", "incorrect", False),
            ("passed", 1, True),
        )
    ],
    (
        "unpaired",
        {"prompt": "q", "completion": "good", "metadata": {"is_correct": False, "by": "x"}},
        Labeled(Q, GOOD, False, "7", {"metadata": {"by": "x"}}),
    ),
    (
        "plain_answers",
        {"prompt": "q", "completion": "good", "correct": "72"},
        replace(SHOWN, meta={"correct": "72"}),
    ),
    ("prompts", {"prompt": "q"}, ASKED),
    ("prompts", {"question": "q"}, ASKED),
    ("prompts", {"prompt": "q", "answer": 72}, Prompt(Q, "7", {"answer": 72})),
    ("trl_prompts", {"prompt": Q, "answer": "72"}, Prompt(Q, "7", {"answer": "72"})),
    ("trl_prompts", {"prompt": Q}, ASKED),
    ("instructions", {"instruction": "q"}, ASKED),
    ("mt_bench", {"turns": ["q"]}, ASKED),
    ("countdown", {"nums": [3, 4], "target": 7}, COUNTDOWN),
    ("countdown", {"numbers": [3, 4], "target": 7}, COUNTDOWN),
    ("countdown_text", {"input": "3,4", "output": "7"}, COUNTDOWN),
]


@pytest.mark.parametrize(("layout", "record", "example"), LAYOUTS)
def test_layout_is_told_from_all_others_and_read(layout, record, example):
    assert [source.name for source in fitting(record)] == [layout]
    assert get(layout).read(copy.deepcopy(record), "7") == example


def test_every_layout_has_a_case():
    assert {layout for layout, _, _ in LAYOUTS} == set(names())


@pytest.mark.parametrize(("layout", "record", "example"), LAYOUTS)
def test_other_columns_go_to_meta(layout, record, example):
    read = get(layout).read({**record, "topic": "x", "n": [1]}, "7")
    assert read.meta == {**example.meta, "topic": "x", "n": [1]}


@pytest.mark.parametrize(("layout", "record", "example"), LAYOUTS)
def test_a_column_less_is_a_bad_field_or_another_layout(layout, record, example):
    """Whatever is taken away, reading answers with `BadField`, never with another exception."""
    for column in record:
        less = {c: value for c, value in record.items() if c != column}
        try:
            get(layout).read(less, "7")
        except BadField as error:
            assert error.message


@pytest.mark.parametrize("source", all_layouts(), ids=str)
@pytest.mark.parametrize("junk", [None, 3, "", [], {}, [None], [{}], {"role": 3}, True])
def test_junk_in_the_columns_is_a_bad_field(source, junk):
    record = dict.fromkeys(source.columns, junk)
    source.matches(record)
    with pytest.raises(BadField):
        source.read(record, "7")


def test_unknown_layout_suggests():
    with pytest.raises(UserError, match=r"data\.layout: there is no layout 'alpacca'; did you mean 'alpaca'"):
        get("alpacca")


@pytest.mark.parametrize("column", ["meta", "meta_json"])
def test_a_foreign_meta_column_among_others_is_an_ordinary_one(column):
    """Only where it stands alone is it the canonical meta; here unwrapping it would lose `topic`."""
    read = get("prompts").read({"prompt": "q", column: {"a": 1}, "topic": "t"}, "7")
    assert read.meta == {column: {"a": 1}, "topic": "t"}


def test_canonical_meta_that_is_broken():
    with pytest.raises(BadField, match="`meta_json` is not a JSON object"):
        get("prompts").read({"prompt": "q", "meta_json": "[1]"}, "7")


# HH-RLHF


def test_speaker_names_inside_a_line_or_a_paragraph_are_what_somebody_said():
    said = transcript("\n\nHuman: Say Human: twice.\n\nAssistant: Human: no.\nHuman: still no.", "chosen")
    assert said == [u("Say Human: twice."), a("Human: no.\nHuman: still no.")]


def test_paragraphs_of_an_answer_stay_together():
    assert transcript("\n\nHuman: q\n\nAssistant: one\n\ntwo", "chosen") == [u("q"), a("one\n\ntwo")]


def test_multi_turn_transcripts_share_all_but_the_last_answer():
    opening = "\n\nHuman: q\n\nAssistant: It is so.\n\nHuman: Why?\n\nAssistant: It is"
    pair = get("hh_rlhf").read({"chosen": opening + " known.", "rejected": opening + " not."}, "7")
    assert pair.prompt == [u("q"), a("It is so."), u("Why?")]
    assert (pair.chosen, pair.rejected) == ([a("It is known.")], [a("It is not.")])


@pytest.mark.parametrize(
    ("chosen", "rejected", "field", "message"),
    [
        (HH, HH + " bad", "chosen", r"turn 2 \(Assistant\) is empty"),
        (HH + " good", HH + "  \n", "rejected", r"turn 2 \(Assistant\) is empty"),
        (HH + " x\n\nHuman: more", HH + " x\n\nHuman: more", "chosen", "ends with a turn of the user"),
        ("\n\nHuman: q\n\nAssistant: x", "\n\nHuman: p\n\nAssistant: x", "rejected", "another prompt"),
        (HH + " x\n\nHuman: r\n\nAssistant: y", HH + " z", "rejected", "parts from `chosen` at turn 2"),
        ("\n\nAssistant: x", "\n\nAssistant: y", "chosen", "no prompt before the answer"),
        ("So: \n\nHuman: q\n\nAssistant: x", HH + " y", "chosen", "does not begin with 'Human:'"),
        ("", HH + " y", "chosen", "is empty"),
    ],
)
def test_faulty_transcripts(chosen, rejected, field, message):
    with pytest.raises(BadField, match=message) as error:
        get("hh_rlhf").read({"chosen": chosen, "rejected": rejected}, "7")
    assert error.value.field == field


# The others' own ways


@pytest.mark.parametrize("label", ["sports", 3, [1], 0.5])
def test_a_label_that_is_neither_good_nor_bad_is_no_demonstration(label):
    record = {"messages": Q + GOOD, "label": label}
    (source,) = fitting(record)
    with pytest.raises(BadField, match=r"`label` is .*, neither true nor false; rename the column"):
        source.read(record, "7")
    assert get("messages").read(record, "7").messages == Q + GOOD  # who names the layout has decided


@pytest.mark.parametrize("layout", ["messages", "alpaca", "plain_answers"])
def test_no_layout_imitates_a_labeled_answer(layout):
    record = {"messages": Q + GOOD, "instruction": "q", "output": "x", "prompt": "q", "completion": "x"}
    for column in ("kto_tag", "is_correct", "accepted"):
        with pytest.raises(BadField, match=rf"`{column}` marks the answer .* data\.layout=unpaired"):
            get(layout).read({**record, column: 0}, "7")


@pytest.mark.parametrize(
    "where",
    [
        {"chosen_score": 9, "rejected_score": 8.5},
        {"chosen_rating": 9, "rejected_rating": 8.5},
        {"chosen-rating": 9, "rejected-rating": 8.5},
        {"rating_chosen": 9, "rating_rejected": 8.5},
        {"reward_chosen": 9, "reward_rejected": 8.5, "chosen_score": "A"},
        {"score_w": 9, "score_l": 8.5},
        {"metadata": {"chosen_avg_rating": 9, "rejected_avg_rating": 8.5}},
        {"score_chosen": 9, "score_rejected": 8.5},
        {"metadata": {"score_chosen": 9, "score_rejected": 8.5}},
        {"chosen_score": "9", "rejected_score": " 8.50 "},
        {"score_chosen": "9.0", "score_rejected": 8.5},
        {"metadata": {"reward_chosen": "9", "reward_rejected": "8.5e0"}},
    ],
)
def test_scores_at_the_top_or_in_metadata(where):
    pair = get("plain_pairs").read({"prompt": "q", "chosen": "x", "rejected": "y", **where}, "7")
    assert (pair.chosen_score, pair.rejected_score) == (9.0, 8.5)


@pytest.mark.parametrize("score", ["nine", "9,5", "9/10", "inf", "1e999", True, float("nan"), 10**400])
@pytest.mark.parametrize("names", [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")])
def test_a_score_must_be_a_finite_number(score, names):
    record = {"prompt": "q", "chosen": "x", "rejected": "y", names[0]: score, names[1]: 1}
    with pytest.raises(BadField, match=rf"`{names[0]}` is .*, not a finite number"):
        get("plain_pairs").read(record, "7")


@pytest.mark.parametrize("missing", ["", "N/A", "null", None])
def test_a_score_that_is_not_given_is_none(missing):
    record = {"prompt": "q", "chosen": "x", "rejected": "y", "score_chosen": missing, "score_rejected": "3"}
    pair = get("plain_pairs").read(record, "7")
    assert (pair.chosen_score, pair.rejected_score) == (None, 3.0)


@pytest.mark.parametrize(("preference", "chosen"), [("-2", "a"), ("1.0", "b")])
def test_a_preference_and_ranks_may_be_text(preference, chosen):
    record = {"context": Q, "response1": "a", "response2": "b", "overall_preference": preference}
    assert get("helpsteer3").read(record, "7").chosen == [{"role": "assistant", "content": chosen}]
    ranked = [{"answer": word, "rank": rank} for word, rank in (("ten", "10"), ("two", "2"), ("four", "4"))]
    pair = get("nectar").read({"prompt": "q", "answers": ranked}, "7")
    assert (pair.chosen[0]["content"], pair.rejected[0]["content"]) == ("two", "ten")  # as text, "10" < "2"


def test_ultrafeedback_prompt_must_be_what_the_user_says():
    record = {"prompt": "something else", "chosen": Q + GOOD, "rejected": Q + BAD}
    with pytest.raises(BadField, match="`prompt` differs from the user's turn"):
        get("ultrafeedback").read(record, "7")


NAN = float("nan")


@pytest.mark.parametrize(
    ("layout", "record"),
    [
        ("nectar", {"prompt": "q", "answers": [{"answer": "a", "rank": NAN}, {"answer": "b", "rank": 1}]}),
        ("nectar", {"prompt": "q", "answers": [{"answer": "a", "rank": True}, {"answer": "b", "rank": 2}]}),
        ("helpsteer3", {"context": Q, "response1": "a", "response2": "b", "overall_preference": NAN}),
    ],
)
def test_a_rank_that_compares_with_nothing_makes_no_pair(layout, record):
    """`NaN < 0` is false, which would have made the second answer the better one."""
    with pytest.raises(BadField, match=r"a rank that is no number|is nan"):
        get(layout).read(record, "7")


def test_alpaca_input_system_and_history():
    record = {
        "instruction": "Add.\n",
        "input": "1 and 2",
        "system": "You add.",
        "history": [["Hi", "Hello"]],
        "output": "3",
    }
    turns = [s("You add."), u("Hi"), a("Hello"), u("Add.\n\n1 and 2"), a("3")]
    assert get("alpaca").read(record, "7") == Demonstration(turns, "7")


def test_sharegpt_system_column_comes_first():
    record = {
        "system": "S",
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}],
    }
    assert get("sharegpt").read(record, "7").messages[0] == s("S")


@pytest.mark.parametrize("column", ["system", "system_prompt"])
@pytest.mark.parametrize(("layout", "record", "example"), LAYOUTS)
def test_a_system_column_is_the_first_turn_in_every_layout(column, layout, record, example):
    """Also where the layout itself says nothing of it."""
    if layout.startswith("countdown"):
        with pytest.raises(BadField, match="another system prompt"):  # the public wording has its own
            get(layout).read({**record, column: "S"}, "7")
        return
    read = get(layout).read({**record, column: "S"}, "7")
    turns = read.messages if isinstance(read, Demonstration) else read.prompt
    assert turns[0] == s("S")


def test_two_system_prompts_are_refused_unless_they_agree():
    said = {"messages": [s("S"), *Q, *GOOD]}
    assert get("messages").read({**said, "system": "S"}, "7").messages == said["messages"]
    with pytest.raises(BadField, match="`system` is another system prompt than the one in the messages"):
        get("messages").read({**said, "system": "T"}, "7")


def test_later_turns_of_mt_bench_are_kept_aside():
    example = get("mt_bench").read({"turns": ["q", "and then?"]}, "7")
    assert example == Prompt(Q, "7", {"later_turns": ["and then?"]})


def test_several_instances_are_not_quietly_cut_to_one():
    instances = [{"input": "", "output": "x"}, {"input": "", "output": "y"}]
    with pytest.raises(BadField, match="holds 2 instances"):
        get("seed_tasks").read({"instruction": "q", "instances": instances}, "7")


def test_demonstration_that_nobody_asked_for():
    with pytest.raises(BadField, match="no prompt before the answer"):
        get("messages").read({"messages": GOOD}, "7")


TOOLS = [{"type": "function", "function": {"name": "warmth"}}]


def openai(messages: list, preferred: list, other: list, **beside: object) -> dict:
    """A record of OpenAI's preference fine-tuning."""
    return {
        "input": {"messages": messages, **beside},
        "preferred_output": preferred,
        "non_preferred_output": other,
    }


def test_openai_tools_are_for_the_conversation_and_calls_stay_in_the_answer():
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "warmth", "arguments": "{}"}}]}
    read = get("openai_pairs").read(openai(Q, [called], BAD, tools=TOOLS, parallel_tool_calls=False), "7")
    assert read.prompt == [{**u("q"), "tools": TOOLS}]
    assert read.chosen[0]["tool_calls"] == [{"function": {"name": "warmth", "arguments": {}}}]
    assert (read.rejected, read.meta) == (BAD, {"parallel_tool_calls": False})


def test_openai_other_keys_are_counted_as_elsewhere(jsonl):
    """A key of a message that nothing reads, in each of the three places, and a key of `input`."""
    lists = [[{**messages[0], "refusal": "no"}] for messages in (Q, GOOD, BAD)]
    loaded = load.read(jsonl(openai(*lists, temperature=1)))
    assert loaded.layout == "openai_pairs" and loaded.examples[0].meta == {"temperature": 1}
    assert loaded.sentence.endswith("; keys of messages that are not used: `refusal` (3)")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (openai([], GOOD, BAD), "`input.messages` is empty"),
        (openai(Q + GOOD, GOOD, BAD), "`input` leaves a prompt that ends with a turn of the assistant"),
        (openai(Q, GOOD, Q), "`non_preferred_output` ends with a turn of the user"),
        (openai(Q, Q + GOOD, BAD), "`preferred_output` begins with a turn of the user"),
        (openai(Q, GOOD, BAD, images=["x.png"]), "`images` is not text"),
        ({**openai(Q, GOOD, BAD), "input": "q"}, "`input` is str, not an object"),
        (
            {c: v for c, v in openai(Q, GOOD, BAD).items() if c != "preferred_output"},
            "`preferred_output` is missing",
        ),
    ],
)
def test_openai_faulty_records(record, message):
    with pytest.raises(BadField, match=re.escape(message)):
        get("openai_pairs").read(record, "7")
