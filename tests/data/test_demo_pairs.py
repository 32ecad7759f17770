"""The shipped demo data keep their promises, and the rule that ranks answers does what it says."""

from __future__ import annotations

import pytest

from boresight.data import demo
from boresight.data.constraints import Constraint, quality, words
from boresight.data.demo.prompts import HELDOUT_TOPICS, TASKS, TRAIN_TOPICS, prompts
from boresight.data.demo.ranking import CHECKS, Answer, length_auc, pairs_of
from boresight.data.load import read
from boresight.data.schema import Preference, Prompt

FILES = {"train": (demo.PAIRS, TRAIN_TOPICS), "held out": (demo.HELDOUT_PAIRS, HELDOUT_TOPICS)}


@pytest.fixture(scope="module", params=FILES)
def shipped(request) -> tuple[list[Preference], list[str]]:
    path, topics = FILES[request.param]
    return read(path, kind="preference").examples, topics


def checks_passed(pair: Preference, text: str) -> int:
    met = Constraint.from_meta(pair.meta).met(text)
    return met + sum(quality(text, pair.meta["topic"]).values())


def test_every_chosen_answer_is_good_and_every_rejected_one_is_worse_for_the_stated_reason(shipped):
    pairs, _ = shipped
    for pair in pairs:
        chosen, rejected = pair.chosen[0]["content"], pair.rejected[0]["content"]
        assert checks_passed(pair, chosen) == pair.chosen_score == CHECKS
        met = Constraint.from_meta(pair.meta).met(rejected)
        assert met == (pair.meta["reason"] == "quality")
        # An answer that was cut off may end in a full stop by chance: it passes one check more here.
        assert pair.rejected_score <= checks_passed(pair, rejected) <= pair.rejected_score + 1
        assert pair.rejected_score < CHECKS


def test_length_alone_does_not_tell_chosen_from_rejected(shipped):
    pairs, _ = shipped
    assert 0.35 <= length_auc(pairs) <= 0.65


def test_pairs_stay_on_their_side_and_the_prompts_ask_for_what_is_checked(shipped):
    pairs, topics = shipped
    asked = {p.prompt[0]["content"] for p in prompts(topics)}
    assert len({pair.id for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.meta["topic"] in topics
        assert pair.prompt[0]["content"] in asked
        assert pair.prompt[0]["content"].endswith(Constraint.from_meta(pair.meta).instruction())


def test_topics_of_training_and_held_out_prompts_are_disjoint_and_files_are_small():
    assert not set(TRAIN_TOPICS) & set(HELDOUT_TOPICS)
    assert read(demo.HELDOUT_PROMPTS, kind="prompt").examples == prompts(HELDOUT_TOPICS)
    assert len({p.id for p in prompts(TRAIN_TOPICS)}) == len(TASKS) * len(TRAIN_TOPICS)
    assert sum(f.stat().st_size for f in demo.FOLDER.glob("*.jsonl*")) < 300_000


# --- the rule ----------------------------------------------------------------------------------

TEA = Prompt(
    prompt=[
        {"role": "user", "content": 'Explain in one sentence why people like tea. Use the word "because".'}
    ],
    id="tea",
    meta={"topic": "tea", "constraint": {"kind": "includes", "params": {"word": "because"}}},
)
GOOD = Answer("People like tea because it is warm and calms them down.", True, -1.5)
LIKELIER = Answer("People love tea because it is a warm drink that calms the mind and the body.", True, -1.0)
MISS = Answer("People like tea, which is a warm drink that calms them.", True, -0.5)
FAR_MISS = Answer("Tea.", True, -0.1)
FRAGMENT = Answer("Because tea.", True, -0.2)
CUT = Answer("People like tea because it is warm. It is also very healthy.", False, -0.2)


def texts(pairs: list[Preference]) -> list[tuple[str, str, str]]:
    return [(p.chosen[0]["content"], p.rejected[0]["content"], p.meta["reason"]) for p in pairs]


def test_the_likeliest_good_answer_is_chosen_and_the_miss_nearest_in_length_rejected():
    found = texts(pairs_of(TEA, [FRAGMENT, FAR_MISS, GOOD, MISS, LIKELIER], most=1))
    assert found == [(LIKELIER.text, MISS.text, "constraint"), (LIKELIER.text, FRAGMENT.text, "quality")]


def test_a_fragment_and_a_cut_answer_are_never_chosen_however_likely():
    assert pairs_of(TEA, [FRAGMENT, CUT, MISS]) == []
    assert texts(pairs_of(TEA, [CUT, GOOD])) == [(GOOD.text, CUT.text, "quality")]


def test_each_miss_is_rejected_once_and_repeated_answers_count_once():
    found = texts(pairs_of(TEA, [GOOD, GOOD, LIKELIER, MISS, MISS]))
    assert found == [(LIKELIER.text, MISS.text, "constraint")]
    assert pairs_of(TEA, [GOOD, LIKELIER, Answer(" ", True, -0.1)]) == []


def test_length_auc_counts_over_all_answers_by_hand():
    """Chosen have 11 and 16 words, rejected 11 and 1: 1/2 + 1 + 1 + 1 of 4."""
    assert [len(words(a.text)) for a in (GOOD, LIKELIER, MISS, FAR_MISS)] == [11, 16, 11, 1]

    def pair(chosen: Answer, rejected: Answer) -> Preference:
        turns = [[{"role": "assistant", "content": a.text}] for a in (chosen, rejected)]
        return Preference(TEA.prompt, *turns, "x")

    assert length_auc([pair(GOOD, MISS), pair(LIKELIER, FAR_MISS)]) == 3.5 / 4
