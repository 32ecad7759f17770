"""Answer the same prompts with the start model and the trained model, to compare the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.config.recipe import EvaluateSection, Recipe
from boresight.core.errors import UserError
from boresight.core.files import write_jsonl
from boresight.core.schema import Example, Labeled, Prompt, to_prompt
from boresight.core.wording import cut_at_tokens, format_duration, plural
from boresight.data.chat import encode_prompt
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.reading.split import half, read_data
from boresight.data.stored.digests import distinct_ids
from boresight.data.tokenizer import Tokenizer
from boresight.models.limits import position_table, room_for_answers
from boresight.models.policy import Policy
from boresight.models.sampler.generate import generate
from boresight.models.sampler.params import SamplingParams
from boresight.stats.paired import DuplicatePrompts, Measured, paired_metric
from boresight.tasks.constraints import evaluation
from boresight.training.rollouts.sampling import sample_in_shares


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An answer of the policy.

    `cut_at` is its number of tokens if the token limit truncated it. It is None if the answer ended by
    itself, or if a file of an earlier version does not record this.
    """

    text: str
    cut_at: int | None = None


def prompts_to_answer(recipe: Recipe, held_out: Sequence[Example]) -> list[Prompt]:
    """Return all prompts to answer, with distinct ids: those of `evaluate.prompts`, or of the held-out rows.

    A prompt with several labeled answers is included once.
    """
    examples: Sequence[Example] = held_out
    if recipe.evaluate.prompts:
        own_names = recipe.data.model_copy(update={"columns": None})  # the mapping is for train and eval
        found = read_data(recipe.evaluate.prompts, "prompt", own_names, mappable=False).examples
        examples = half(found, recipe.data.eval_half)
    return list(distinct_ids([to_prompt(example) for example in _without_copies(examples)]))


def _without_copies(examples: Sequence[Example]) -> Iterator[Example]:
    seen: set[str] = set()
    for example in examples:
        if not isinstance(example, Labeled):
            yield example
        elif (key := prompt_key(example)) not in seen:
            seen.add(key)
            yield example


def refuse_unanswerable(
    recipe: Recipe, policy: Policy, tokenizer: Tokenizer, prompts: Sequence[Prompt]
) -> None:
    """Raise a `UserError` if a prompt that the run answers leaves no position for an answer.

    Such a prompt is at least as long as the model's table of position embeddings.
    """
    table = position_table(policy)
    if table is None:
        return
    evaluate = recipe.evaluate
    asked = prompts[: max(evaluate.samples, evaluate.rewarded, recipe.check.probes)]
    lengths = [len(encode_prompt(tokenizer, prompt.prompt)) for prompt in asked]
    rooms = room_for_answers(table, lengths)
    if long := [(p.id, n) for p, n, room in zip(asked, lengths, rooms, strict=True) if room == 0]:
        (id, tokens), several = long[0], f", as do {len(long) - 1:,} others" if len(long) > 1 else ""
        raise UserError(
            f"evaluate.prompts: the prompt {id!r} has {tokens:,} tokens, which fill the model's table of "
            f"positions{several}; leave it out, or take a model with more positions."
        )


def answer_all(
    policy: Policy, tokenizer: Tokenizer, asked: Sequence[Prompt], settings: EvaluateSection, console: Console
) -> list[GeneratedAnswer]:
    """Return an answer of `policy`, in its current state, to each prompt, in order.

    Prints the number of answers that were truncated.
    """
    if not asked:
        return []
    params = SamplingParams(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, seed=0)
    started = time.monotonic()
    prompts = [p.prompt for p in asked]
    samples = generate(policy, tokenizer, prompts, params, sampler=sample_in_shares, console=console)
    answers = [GeneratedAnswer(sample.text, sample.cut_at) for sample, *_ in samples]
    cut = _count_cut(answers)
    console.print(
        f"answers: {plural(len(asked), 'prompt')} in {format_duration(time.monotonic() - started)}"
        + (f", {cut:,} {cut_at_tokens(settings.max_new_tokens)}" if cut else ""),
        highlight=False,
    )
    return answers


def answer_lengths(
    tokenizer: Tokenizer,
    asked: Sequence[Prompt],
    before: Sequence[GeneratedAnswer],
    after: Sequence[GeneratedAnswer],
    same: DuplicatePrompts | None = None,
) -> list[Measured]:
    """Compare the mean number of tokens of the answers before and after training, paired by prompt.

    The texts are tokenized again, so special tokens such as the end of the turn do not count. An answer that
    the token limit truncated has the length of the limit. The label includes the number of truncated answers,
    whose full length is unknown. The list is empty if there are no prompts.

    Args:
        same: ids of equal prompts.
    """
    if not asked:
        return []
    lengths = (
        {prompt.id: _length(tokenizer, answer) for prompt, answer in zip(asked, answers, strict=True)}
        for answers in (before, after)
    )
    of_before, of_after = lengths
    old, new = _count_cut(before), _count_cut(after)
    cut = f" ({old:,} of {len(asked):,} cut before, {new:,} after)" if old or new else ""
    label = f"length of sampled answers{cut}"
    return [paired_metric("answer_tokens", label, "tokens", "neither", of_before, of_after, same)]


def _count_cut(answers: Sequence[GeneratedAnswer]) -> int:
    return sum(answer.cut_at is not None for answer in answers)


def _length(tokenizer: Tokenizer, answer: GeneratedAnswer) -> float:
    if answer.cut_at is not None:  # other tokens may spell the same text
        return float(answer.cut_at)
    return float(len(tokenizer.backend_tokenizer.encode(answer.text, add_special_tokens=False).ids))


def write_samples(
    run: Path,
    asked: Sequence[Prompt],
    before: Sequence[GeneratedAnswer],
    after: Sequence[GeneratedAnswer],
    same: DuplicatePrompts | None = None,
) -> list[Measured]:
    """Write `samples.jsonl`, and return metrics over the checks that the prompts contain.

    Args:
        same: ids of equal prompts.
    """
    if not asked:
        return []
    answered = list(zip(asked, before, after, strict=True))
    write_jsonl(run / "samples.jsonl", [_line(*answers) for answers in answered])
    checked = [(q.id, q.meta, old.text, new.text) for q, old, new in answered if evaluation.checkable(q.meta)]
    if not checked:
        return []
    ids, metas, olds, news = zip(*checked, strict=True)
    return evaluation.compare_constraints(ids, metas, olds, news, same)


def _line(prompt: Prompt, old: GeneratedAnswer, new: GeneratedAnswer) -> dict[str, Any]:
    line = {"id": prompt.id, "prompt": prompt.prompt, "before": old.text, "after": new.text}
    cut = {"before_cut_at": old.cut_at, "after_cut_at": new.cut_at}
    return line | cut | _checks(prompt, old.text, new.text)


def _checks(prompt: Prompt, old: str, new: str) -> dict[str, dict[str, bool]]:
    if not evaluation.checkable(prompt.meta):
        return {}
    return {
        "before_checks": evaluation.check_answer(prompt.meta, old),
        "after_checks": evaluation.check_answer(prompt.meta, new),
    }
