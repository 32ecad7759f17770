"""Answers of a model before and after training: which of them the token limit cut."""

import io
import json
import re

from rich.console import Console

from boresight.config.recipe import EvaluateSection, Recipe
from boresight.core.schema import Message, Prompt
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.training.probes.answers import (
    GeneratedAnswer,
    answer_all,
    answer_lengths,
    prompts_to_answer,
    write_samples,
)
from tests.rows import jsonl
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


def test_prompts_that_share_an_id_are_answered_and_measured_one_by_one(tmp_path):
    """Constrained requests of several files that were put together, each with ids from 1."""
    constraint = {"kind": "max_words", "params": {"n": 3}}
    rows = [
        {"id": f"p{n % 2}", "prompt": f"say {n}", "topic": "tea", "constraint": constraint} for n in range(4)
    ]
    prompts_file = jsonl(tmp_path / "p.jsonl", rows)
    raw = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
    asked = prompts_to_answer(Recipe.parse(raw | {"evaluate": {"prompts": prompts_file}}), [])
    assert [prompt.id for prompt in asked] == ["p0", "p1", "p0#2", "p1#2"]
    before = [GeneratedAnswer("one two three four")] * 4
    after = [*before[:3], GeneratedAnswer("tea.")]
    metrics = {metric.name: metric for metric in write_samples(tmp_path, asked, before, after)}
    assert (metrics["constraint_met"].after.value, metrics["constraint_met"].after.n) == (1 / 4, 4)
    lengths = answer_lengths(tiny_tokenizer(), asked, before, after)[0]
    assert lengths.after is not None and lengths.after.n == 4
