"""The mean length of the answers before and after training, by hand."""

from boresight.core.schema import Message, Prompt
from boresight.training.probes.answers import answer_lengths
from tests.tiny import tiny_tokenizer


def prompts(count):
    return [Prompt([Message(role="user", content=f"say {i}")], id=f"p{i}") for i in range(count)]


def test_lengths_are_in_tokens_and_paired_by_prompt():
    """Bytes are tokens of this tokenizer where it has merged none: "zq" has 2 tokens, "zqzq" 4, "" none."""
    tokenizer = tiny_tokenizer()
    counts = {text: len(tokenizer.backend_tokenizer.encode(text).ids) for text in ("zq", "zqzq", "")}
    assert counts == {"zq": 2, "zqzq": 4, "": 0}
    (found,) = answer_lengths(tokenizer, prompts(3), ["zq", "zqzq", "zqzq"], ["", "zq", "zq"])
    assert (found.name, found.unit, found.better) == ("answer_tokens", "tokens", "neither")
    assert (found.before.value, found.before.n) == (10 / 3, 3)
    assert (found.after.value, found.difference.value) == (4 / 3, -2.0)


def test_without_answers_there_is_no_length():
    assert answer_lengths(tiny_tokenizer(), [], [], []) == []
