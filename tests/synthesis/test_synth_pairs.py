"""Which answers become a pair, worked by hand; what length says; which prompts are too near."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.core.schema import Prompt
from boresight.evaluation.shingles import jaccard, shingles
from boresight.llm.replies.reply import Reply
from boresight.synthesis.answers import Answer
from boresight.synthesis.filters import Sieve
from boresight.synthesis.judge import Judged, Scored
from boresight.synthesis.near_duplicates import HeldOut, NearDuplicates, copies
from boresight.synthesis.pairs import auc, lengths, make_pairs
from boresight.synthesis.prompts import Variety
from boresight.synthesis.recipe import PairsSection


def words(count: int, word: str = "w") -> str:
    return " ".join(f"{word}{i}" for i in range(count))


def row(*answers: tuple[str, float | None], sides: str = "") -> Judged:
    """A prompt with scored answers; a score of None could not be judged."""
    prompt = Prompt([{"role": "user", "content": "Say it."}], "p")
    names = {"c": "chosen", "r": "rejected"}
    return Judged(
        prompt,
        tuple(
            Scored(Answer("a", "m", "key", Reply(text), names[sides[i]] if sides else None), score)
            for i, (text, score) in enumerate(answers)
        ),
    )


def pair(judged: Judged, **settings: object) -> tuple[list[tuple[str, str]], dict[str, int]]:
    sieve = Sieve()
    made = list(make_pairs([judged], PairsSection(**settings), sieve))
    texts = [(p.chosen[0]["content"], p.rejected[0]["content"]) for p in made]
    return texts, dict(sieve.counts)


def test_best_against_worst() -> None:
    low, middle, high = words(10, "l"), words(10, "m"), words(10, "h")
    assert pair(row((middle, 3.0), (high, 5.0), (low, 1.0))) == ([(high, low)], {})


def test_a_tie_is_no_pair_and_neither_is_a_margin_that_is_only_reached() -> None:
    a, b = words(10, "a"), words(10, "b")
    assert pair(row((a, 3.0), (b, 3.0))) == ([], {"prompts whose answers tie": 1})
    assert pair(row((a, 3.0), (b, 2.0)), margin=1.0) == ([], {"prompts with too small a margin": 1})
    assert pair(row((a, 3.0), (b, 1.9)), margin=1.0)[0] == [(a, b)]


def test_the_worst_of_like_length_is_rejected_and_not_the_worst() -> None:
    """Against 10 words, 4 are a gap of 0.6 and 8 one of 0.2."""
    best, short, like = words(10, "b"), words(4, "s"), words(8, "l")
    assert pair(row((best, 5.0), (short, 1.0), (like, 2.0)))[0] == [(best, like)]
    assert pair(row((best, 5.0), (short, 1.0))) == ([], {"prompts without two answers alike in length": 1})
    assert pair(row((best, 5.0), (short, 1.0)), max_length_gap=None)[0] == [(best, short)]


def test_among_equally_good_answers_the_one_alike_in_length_is_chosen() -> None:
    long, short, bad = words(20, "l"), words(10, "s"), words(10, "b")
    assert pair(row((long, 1.0), (short, 1.0), (bad, 0.0)))[0] == [(short, bad)]


def test_of_equally_good_pairs_the_one_that_balances_length_is_taken() -> None:
    """The first prompt offers a chosen answer that is longer; from then on they take turns."""
    good, shorter, longer = words(10, "g"), words(9, "s"), words(11, "l")
    rows = [row((good, 1.0), (shorter, 0.0)), *[row((good, 1.0), (shorter, 0.0), (longer, 0.0))] * 5]
    made = list(make_pairs(rows, PairsSection(), Sieve()))
    found = lengths(made)
    assert (found.chosen_longer, found.chosen_shorter, found.within_pairs) == (3, 3, 0.5)


def test_further_pairs_are_made_of_the_answers_that_are_left() -> None:
    """Scores 5, 4, 2, 1 give 5 against 1 and 4 against 2; a third pair finds nobody."""
    a, b, c, d = (words(10, letter) for letter in "abcd")
    judged = row((c, 2.0), (a, 5.0), (d, 1.0), (b, 4.0))
    assert pair(judged, per_prompt=2) == ([(a, d), (b, c)], {})
    assert pair(judged, per_prompt=3) == ([(a, d), (b, c)], {})
    assert pair(judged, per_prompt=2, margin=2.5) == ([(a, d)], {})


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=9), st.integers(1, 5))
def test_no_answer_is_in_two_pairs_and_every_pair_prefers_the_better(scores: list[float], most: int) -> None:
    judged = row(*((words(10 + i, f"w{i}x"), score) for i, score in enumerate(scores)))
    made = list(make_pairs([judged], PairsSection(per_prompt=most, max_length_gap=None), Sieve()))
    texts = [side[0]["content"] for p in made for side in (p.chosen, p.rejected)]
    assert len(set(texts)) == len(texts) and len(made) <= most
    assert all(p.chosen_score > p.rejected_score for p in made)
    assert len({p.id for p in made}) == len(made)


def test_what_failed_declined_repeated_or_was_not_judged_is_counted_and_in_no_pair() -> None:
    good, bad = words(10, "g"), words(10, "b")
    judged = row((good, 5.0), (bad, 1.0), (good.upper() + "!", 0.0), ("I'm sorry, but I can't help.", 0.0))
    cut = Answer("a", "m", "k", Reply("half an", "truncated"))
    unread = Answer("a", "m", "k", Reply(words(9, "u")))
    judged = Judged(judged.prompt, (*judged.scored, Scored(cut, None), Scored(unread, None, "timeout")))
    texts, counts = pair(judged, min_words=2)
    assert texts == [(good, bad)]
    assert counts == {
        "answers that repeat another to the prompt": 1,
        "answers that decline": 1,
        "answers that failed (truncated)": 1,
        "answers that could not be judged": 1,
    }


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I cannot help with that.", True),
        ("As an AI language model, I can't provide that.", True),
        ("I'm unable to assist you.", True),
        ("Unfortunately, I cannot answer this.", True),
        ("I cannot stress enough how much this matters.", False),
        ("Penguins cannot help their walk.", False),
    ],
)
def test_answers_that_decline_are_known_by_how_they_begin(text: str, declines: bool) -> None:
    assert ("answers that decline" in pair(row((text, 1.0), (words(9), 0.0)))[1]) == declines


def test_sides_are_taken_as_they_were_made() -> None:
    a, b = words(10, "a"), words(10, "b")
    assert pair(row((a, None), (b, None), sides="rc"))[0] == [(b, a)]


@pytest.mark.parametrize(("sides", "surplus"), [("rcc", 1), ("rrr", 3), ("crrr", 2)])
def test_answers_that_the_other_side_has_no_match_for_are_counted(sides: str, surplus: int) -> None:
    answers = [(words(10, f"w{i}x"), None) for i in range(len(sides))]
    made, counts = pair(row(*answers, sides=sides))
    assert len(made) == (len(sides) - surplus) // 2
    assert counts == {"answers without one of the other side": surplus}


@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9), min_size=1))
def test_auc_is_the_share_of_won_comparisons(a: list[int], b: list[int]) -> None:
    by_hand = sum((x > y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))
    assert auc(a, b) == pytest.approx(by_hand)


def test_length_statistics_by_hand() -> None:
    """Words 3 against 1 and 2 against 4: means 2.5; of the four comparisons 3>1, 2>1 are won: 2/4."""
    sieve, settings = Sieve(), PairsSection(max_length_gap=None)
    rows = [row((words(3, "x"), 1.0), (words(1, "y"), 0.0)), row((words(2, "x"), 1.0), (words(4, "y"), 0.0))]
    found = lengths(list(make_pairs(rows, settings, sieve)))
    assert (found.chosen, found.rejected, found.chosen_longer, found.auc) == (2.5, 2.5, 1, 0.5)


# --- prompts that are too near -------------------------------------------------------------------


def test_copies_differ_in_case_punctuation_and_spaces_only() -> None:
    assert list(copies(["What is tea?", "what  is tea", "What is a tea?"])) == [False, True, False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 17 + 5?", "What is 17 - 5?"),
        ("17+5", "17-5"),
        ("3", "-3"),
        ("It is -3.", "It is 3."),
        ("x - y", "x y"),
        ("a*b", "a/b"),
        ("2 * 3", "2 / 3"),
        ("(2) * 3", "(2) - 3"),
        ("5 %", "5"),
        ("3 < 4", "3 > 4"),
        ("3 ≤ 4", "3 ≥ 4"),
        ("2^3", "2 3"),
        ("Explain pointers in C.", "Explain pointers in C++."),
        ("Write C", "Write C#"),
        ("$5 in yen", "€5 in yen"),
        ("What does 😀 mean?", "What does 😢 mean?"),
    ],
)
def test_texts_that_differ_in_a_sign_or_an_operator_are_no_copies(one: str, other: str) -> None:
    assert list(copies([one, other, one])) == [False, False, True]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A well-known fact", "a well known fact."),
        ("**Paris** is it", "Paris is it"),
        ("Yes - of course!", "“Yes”, of course…"),
        ("GPT-4, and/or others", "gpt 4 and or others"),
        ("- tea\n- rain", "tea, rain"),
    ],
)
def test_punctuation_and_markup_make_no_other_text(one: str, other: str) -> None:
    assert list(copies([one, other])) == [False, True]


def test_an_overlap_is_a_run_of_words_or_a_whole_short_prompt() -> None:
    held = HeldOut(["one two three four five six", "name four blue birds", "hi there"], size=5)
    assert held.overlap("zero one two three four five!") == "one two three four five"
    assert held.overlap("one two three four and five") is None
    assert held.overlap("Please name four blue birds now") == "name four blue birds"
    assert held.overlap("hi there") == "hi there"
    assert held.overlap("well, hi there, friend") is None  # two words are in too many texts
    assert held.overlap("") is None


def test_near_copies_are_found_by_minhash() -> None:
    pytest.importorskip("datasketch", reason="near copies need the extra [dedup]")
    near = NearDuplicates(0.8)
    text = words(40)
    assert near.seen(text) is None
    assert near.seen(text + " more") == text  # 38 shingles of 39 in common
    assert near.seen(words(40, "v")) is None


def test_new_prompts_must_differ_from_seeds_and_from_one_another() -> None:
    """`a b c d` and `a b c e` share 2 of 4 word pairs."""
    variety = Variety(["a b c d"], most=0.4)
    assert variety.too_near("a b c e") == "a b c d"
    assert variety.too_near("f g h i") is None
    assert variety.too_near("F g, h i.") == "f g h i"
    assert jaccard(shingles(["a", "b", "c", "d"], 2), shingles(["a", "b", "c", "e"], 2)) == 0.5
