"""The mean length of the answers before and after training, by hand."""

from boresight.core.schema import Message, Prompt
from boresight.training.probes.answers import GeneratedAnswer, answer_lengths
from tests.tiny import tiny_tokenizer


def prompts(count):
    return [Prompt([Message(role="user", content=f"say {i}")], id=f"p{i}") for i in range(count)]


def test_lengths_are_in_tokens_and_paired_by_prompt():
    """Bytes are tokens of this tokenizer where it has merged none: "zq" has 2 tokens, "zqzq" 4, "" none."""
    tokenizer = tiny_tokenizer()
    counts = {text: len(tokenizer.backend_tokenizer.encode(text).ids) for text in ("zq", "zqzq", "")}
    assert counts == {"zq": 2, "zqzq": 4, "": 0}
    before, after = [GeneratedAnswer("zq"), *[GeneratedAnswer("zqzq")] * 2], [GeneratedAnswer("")]
    (found,) = answer_lengths(tokenizer, prompts(3), before, after + [GeneratedAnswer("zq")] * 2)
    assert (found.name, found.unit, found.better) == ("answer_tokens", "tokens", "neither")
    assert found.label == "length of sampled answers"
    assert (found.before.value, found.before.n) == (10 / 3, 3)
    assert (found.after.value, found.difference.value) == (4 / 3, -2.0)


def test_the_label_counts_answers_whose_end_is_not_known():
    before, after = (
        [GeneratedAnswer("zq", 2), GeneratedAnswer("zq", 2)],
        [GeneratedAnswer("zq", 2), GeneratedAnswer("z")],
    )
    (found,) = answer_lengths(tiny_tokenizer(), prompts(2), before, after)
    assert found.label == "length of sampled answers (2 of 2 cut before, 1 after)"


def test_without_answers_there_is_no_length():
    assert answer_lengths(tiny_tokenizer(), [], [], []) == []


def test_an_answer_that_was_cut_is_as_long_as_the_limit():
    """Its text may be spelled by other tokens; a mean above the limit would be wrong."""
    (found,) = answer_lengths(
        tiny_tokenizer(), prompts(2), [GeneratedAnswer("zqzq", 3)] * 2, [GeneratedAnswer("z")] * 2
    )
    assert (found.before.value, found.after.value) == (3.0, 1.0)
