"""Long answers are shortened in a page, which stays below a megabyte; the files keep the whole text."""

import json
import random

import pytest

from boresight.reports.page import write_report
from boresight.reports.samples.shorten import BUDGET, LONGEST, SHORTEST, fit_on_page, shortened_sentence
from tests.odd_text import ODD
from tests.reports.fake_run import write_fake_run
from tests.reports.test_cut_answers import payload


def sample(before, after, prompt="q", notes=()):
    turns = [{"role": "user", "content": prompt}]
    return {"id": "p", "prompt": turns, "answers": [before, after], "checks": [{}, {}], "notes": list(notes)}


def test_short_texts_stay_as_they_are():
    (found,) = fit_on_page([sample("a", "b", notes=[("after step 1", "c")])])
    assert found["answers"] == ["a", "b"] and found["left_out"] == [0, 0] and not found["same"]
    assert found["notes"] == [("after step 1", "c")] and found["prompt"][0]["content"] == "q"
    assert shortened_sentence([found], "samples.jsonl") == ""


def test_a_long_answer_keeps_its_beginning_and_the_count_of_the_rest():
    """70,000 characters are cut at 64,000, a missing answer stays missing."""
    (found,) = fit_on_page([sample("x" * 70_000, None, prompt="y" * 64_001)])
    assert found["answers"] == ["x" * LONGEST, None] and found["left_out"] == [6_000, 0]
    assert found["prompt"][0]["content"] == "y" * LONGEST + "… [1 characters left out]"
    assert shortened_sentence([found], "samples.jsonl") == (
        "1 long answer is shortened on this page; samples.jsonl has the whole text."
    )


def test_answers_that_differ_behind_the_cut_are_not_the_same():
    equal, other = "x" * 100_000, "x" * 99_999 + "y"
    found = fit_on_page([sample(equal, equal), sample(equal, other), sample(None, None)])
    assert [one["same"] for one in found] == [True, False, False]
    assert found[1]["answers"][0] == found[1]["answers"][1]


@pytest.mark.parametrize("seed", range(5))
def test_texts_fit_the_budget_or_have_the_shortest_length(seed):
    """Random numbers of answers of random lengths, of characters that take 1 to 12 bytes in JSON."""
    draw = random.Random(seed)
    letters = ["a", "<", "é", "😀"]
    texts = [draw.choice(letters) * draw.randrange(1, 60_000) for _ in range(2 * draw.randrange(1, 20))]
    found = fit_on_page([sample(one, two) for one, two in zip(texts[::2], texts[1::2], strict=True)])
    lengths = [len(answer) for one in found for answer in one["answers"]]
    size = sum(len(json.dumps(answer)) for one in found for answer in one["answers"])
    assert size <= BUDGET or max(lengths) == SHORTEST
    whole = [n + rest for n, rest in zip(lengths, [n for one in found for n in one["left_out"]], strict=True)]
    assert whole == [len(text) for text in texts]


def test_two_answers_of_a_megabyte_make_a_page_below_one(tmp_path):
    """Words in one run, odd characters in the other; the file is not touched."""
    for name, text in (("plain", "word " * 200_000), ("odd", f"{ODD}<b>é😀" * 60_000)):
        run = write_fake_run(tmp_path / name, steps=400)
        rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        rows[0] |= {"before": text, "after": text}
        written = "".join(json.dumps(row) + "\n" for row in rows)
        (run / "samples.jsonl").write_text(written)
        page = write_report(run)
        assert page.stat().st_size < 1_000_000
        assert (
            "2 long answers are shortened on this page; samples.jsonl has the whole text." in page.read_text()
        )
        shown = payload(page.read_text())["samples"][0]
        assert shown["left_out"] == [len(text) - len(shown["answers"][0])] * 2 and shown["same"]
        assert (run / "samples.jsonl").read_text() == written
