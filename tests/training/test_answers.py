"""Answers of a model before and after training: which of them the token limit cut."""

import io
import json
import re

from rich.console import Console

from boresight.config.recipe import EvaluateSection
from boresight.core.schema import Message, Prompt
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.training.probes.answers import GeneratedAnswer, answer_all, write_samples
from tests.tiny import tiny_model, tiny_tokenizer

PROMPTS = [Prompt([Message(role="user", content=f"say {i}")], id=f"p{i}") for i in range(6)]


def test_a_model_that_does_not_end_is_cut_at_the_limit():
    """A random model rarely samples its end token, so most answers have all 5 tokens."""
    tokenizer, model = tiny_tokenizer(), tiny_model()
    wire_stop_tokens(model, tokenizer)
    said = io.StringIO()
    settings = EvaluateSection(max_new_tokens=5, temperature=1.0)
    found = answer_all(model, tokenizer, PROMPTS, settings, Console(file=said, width=200))
    cut = [answer.cut_at for answer in found]
    assert set(cut) <= {None, 5} and cut.count(5) >= 4
    assert re.search(rf"answers: 6 prompts in .*, {cut.count(5)} cut at 5 tokens\n", said.getvalue())


def test_the_file_has_the_number_of_tokens_of_answers_that_were_cut(tmp_path):
    answers = [GeneratedAnswer("a", 64), GeneratedAnswer("b")]
    write_samples(tmp_path, PROMPTS[:2], answers, answers[::-1])
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(row["before"], row["before_cut_at"], row["after_cut_at"]) for row in rows] == [
        ("a", 64, None),
        ("b", None, 64),
    ]
