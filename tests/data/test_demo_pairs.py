"""The shipped demo data keep their promises, and are what the recipe that made them makes."""

from __future__ import annotations

from collections import Counter

import pytest

from boresight.core.schema import Preference
from boresight.data import demo
from boresight.data.demo.prompts import HARDER_TASKS, TASKS, prompts
from boresight.data.demo.topics import (
    DEMO_HELDOUT_TOPICS,
    DEMO_TRAIN_TOPICS,
    TEST_TOPICS,
    TRAIN_TOPICS,
    VALIDATION_TOPICS,
)
from boresight.data.reading.load import read
from boresight.data.reading.sources.generated import read_generated
from boresight.synthesis.pairs import lengths
from boresight.synthesis.recipe import SynthesisRecipe
from boresight.tasks.constraints.constraint import Constraint
from boresight.tasks.constraints.evaluation import check_answer

FILES = {"train": (demo.PAIRS, DEMO_TRAIN_TOPICS), "held out": (demo.HELDOUT_PAIRS, DEMO_HELDOUT_TOPICS)}


@pytest.fixture(scope="module", params=FILES)
def shipped(request) -> tuple[list[Preference], list[str]]:
    path, topics = FILES[request.param]
    return read(path, kind="preference").examples, topics


def test_every_chosen_answer_is_good_and_no_rejected_one_is(shipped):
    pairs, _ = shipped
    for pair in pairs:
        assert check_answer(pair.meta, pair.chosen[0]["content"])["good_answer"]
        assert not check_answer(pair.meta, pair.rejected[0]["content"])["good_answer"]
        assert (pair.chosen_score, pair.rejected_score) == (1.0, 0.0)


def test_length_alone_does_not_tell_chosen_from_rejected(shipped):
    pairs, _ = shipped
    found = lengths(pairs)
    assert 0.45 <= found.auc <= 0.55 and 0.45 <= found.within_pairs <= 0.55


def test_pairs_are_as_the_recipe_makes_them(shipped):
    """At most `per_prompt` a prompt, of like length, from its one source, no answer twice."""
    pairs, _ = shipped
    recipe = SynthesisRecipe.load("synth-demo")
    per_prompt = Counter(pair.prompt[0]["content"] for pair in pairs)
    assert max(per_prompt.values()) == recipe.pairs.per_prompt
    used = [pair.meta[f"{side}_from"]["response"] for pair in pairs for side in ("chosen", "rejected")]
    assert len(set(used)) == len(used)
    for pair in pairs:
        assert {pair.meta[f"{side}_from"]["source"] for side in ("chosen", "rejected")} == {*recipe.answers}
        a, b = (len(side[0]["content"].split()) for side in (pair.chosen, pair.rejected))
        assert min(a, b) >= recipe.pairs.min_words
        assert abs(a - b) / max(a, b) <= recipe.pairs.max_length_gap


def test_pairs_stay_on_their_side_and_the_prompts_ask_for_what_is_checked(shipped):
    pairs, topics = shipped
    asked = {p.prompt[0]["content"] for p in prompts(topics)}
    assert len({pair.id for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.meta["topic"] in topics
        assert pair.prompt[0]["content"] in asked
        assert pair.prompt[0]["content"].endswith(Constraint.from_meta(pair.meta).instruction())


def test_topics_are_split_once_and_files_are_small():
    splits = TRAIN_TOPICS, VALIDATION_TOPICS, TEST_TOPICS
    assert [len(topics) for topics in splits] == [60, 20, 100]
    assert len({topic for topics in splits for topic in topics}) == 180
    assert {*DEMO_TRAIN_TOPICS} < {*TRAIN_TOPICS} and {*DEMO_HELDOUT_TOPICS} < {*VALIDATION_TOPICS}
    assert read(demo.HELDOUT_PROMPTS, kind="prompt").examples == prompts(DEMO_HELDOUT_TOPICS)
    assert read(demo.TEST_PROMPTS, kind="prompt").examples == prompts(TEST_TOPICS)
    assert sum(f.stat().st_size for f in demo.FOLDER.glob("*.jsonl*")) < 300_000


@pytest.mark.parametrize(("name", "count"), [("train", 480), ("validation", 160), ("test", 800)])
def test_eight_constraints_about_every_topic_of_a_split(name, count):
    made = read_generated(f"generate:constraints-{name}", "prompt").examples
    assert len(made) == len({prompt.id for prompt in made}) == count
    kinds = Counter(prompt.meta["constraint"]["kind"] for prompt in made)
    assert len(kinds) == len(TASKS) + len(HARDER_TASKS) == 8 and len({*kinds.values()}) == 1
    for prompt in made:
        assert prompt.prompt[0]["content"].endswith(Constraint.from_meta(prompt.meta).instruction())
