"""Get the answers of systems: generate them, request them, or read them from a file or a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.core.console import print_warning
from boresight.core.errors import UserError, naming
from boresight.core.files import expanded, write_hashed_jsonl
from boresight.core.schema import Message, Prompt
from boresight.core.strict_model import is_count
from boresight.data.reading import names
from boresight.data.reading.files import records
from boresight.data.reading.shapes import read_text
from boresight.data.reading.turns import BadField, to_messages
from boresight.evaluation.endpoint_answers import endpoint_responses
from boresight.evaluation.matching import SystemAnswer
from boresight.evaluation.response import MISSING, Response
from boresight.evaluation.win_rate import System
from boresight.llm.replies.samples import IdenticalSamples

if TYPE_CHECKING:
    from rich.console import Console

    from boresight.data.tokenizer import Tokenizer
    from boresight.evaluation.recipe import EvaluationRecipe, GenerateSection, SystemSection
    from boresight.models.sampler.params import Sample, SamplingParams

ANSWER_FIELDS = (names.GOLD, "output", *names.COMPLETION, "after")
CUT_AT = "cut_at"
"""Column with the number of tokens of a truncated answer; run folders have it as `after_cut_at`."""
PROMPT_FIELDS = (*names.PROMPT, "instruction")


def read_answers(source: str | Path) -> list[SystemAnswer]:
    """Read answers from a file, or the trained model's answers from `samples.jsonl` of a run folder.

    The file may have any type that training data may have.

    Raises:
        UserError: no such file, a row without an answer, or a row without a prompt and an id.
    """
    file = answers_file(source)
    return [_answered(row, f"{file}, row {number}") for number, row in records(file)]


def read_start_answers(run: Path) -> list[SystemAnswer]:
    """Read the start model's answers from `samples.jsonl` of a run. Raises `UserError` if there are none."""
    if not run.is_dir():
        raise UserError(
            f"{run}: is no run folder, which would have the start model's answers; name a second one."
        )
    file = answers_file(run)
    return [_before(row, f"{file}, row {number}") for number, row in records(file)]


def _before(row: object, where: str) -> SystemAnswer:
    """Return the start model's answer in a row of `samples.jsonl`."""
    if not isinstance(row, dict) or "before" not in row:
        raise UserError(f"{where}: the start model's answer (`before`) is missing; name a second run.")
    return _answered({**row, ANSWER_FIELDS[0]: row["before"], CUT_AT: row.get("before_cut_at")}, where)


def answers_file(source: str | Path) -> Path:
    """Return the path of an answers file: `source`, or `samples.jsonl` if `source` is a run folder.

    Raises:
        UserError: there is no such file.
    """
    path = expanded(source)
    file = path / "samples.jsonl" if path.is_dir() else path
    if not file.is_file():
        what = "the run has no samples.jsonl" if path.is_dir() else "there is no such file or run folder"
        raise UserError(f"{path}: {what}; give a file of prompts and answers, or a run folder with samples.")
    return file


def refuse_missing_systems(recipe: EvaluationRecipe) -> None:
    """Raise a `UserError` if the model of a system does not exist or its endpoint cannot be used.

    An endpoint cannot be used without its key, or with a spending limit in dollars but without a price.
    """
    from boresight.llm.session import refuse_unready
    from boresight.models.source import locate

    for name, system in recipe.systems.items():
        if system.model is not None:
            with naming(f"systems.{name}.model", "model"):  # which the user may not have written
                locate(system.model)
        if system.endpoint is not None:
            refuse_unready([system.endpoint], recipe.budget)


def prompts_of(answers: Sequence[SystemAnswer], source: str | Path) -> list[Prompt]:
    """Return the prompt of each row of an answers file. Raises `UserError` for a row without a prompt."""
    for number, row in enumerate(answers, start=1):
        if row.prompt is None:
            raise UserError(
                f"{source}, row {number}: `prompt` is missing; add it, or set prompts in the recipe."
            )
    return [Prompt(row.prompt or [], row.id or f"row-{i}") for i, row in enumerate(answers, start=1)]


def generate_answers(
    name: str, model: str, prompts: Sequence[Prompt], settings: GenerateSection, console: Console
) -> System:
    """Generate one answer of a model to every prompt, as `generate_responses` does, and return the system."""
    return as_system(name, prompts, generate_responses(name, model, prompts, settings, 1, console))


def generate_responses(
    name: str, model: str, prompts: Sequence[Prompt], settings: GenerateSection, k: int, console: Console
) -> list[list[Response]]:
    """Generate `k` answers of a model to every prompt, and return them as `result[prompt][sample]`.

    Answers are missing for a prompt that fills the model's table of positions. The numbers of truncated
    answers and of prompts without answers are printed.
    """
    from boresight.models.checkpoint.leftovers import Allowed
    from boresight.models.limits import position_table
    from boresight.models.sampler.generate import generate, load_chat_model
    from boresight.models.source import print_note_on_base

    print_note_on_base(model, console)
    allowed = Allowed(tuple(settings.allow_weights))
    policy, tokenizer = load_chat_model(model, device=settings.device, allowed=allowed)
    asked = _Asked(name, prompts, tokenizer, position_table(policy))
    asked.print_unanswerable(console)
    samples = generate(policy, tokenizer, asked.conversations, _params(settings), k, console=console)
    return asked.responses(samples, k, settings.max_new_tokens, console)


def vllm_responses(
    name: str,
    section: SystemSection,
    prompts: Sequence[Prompt],
    settings: GenerateSection,
    k: int,
    console: Console,
) -> list[list[Response]]:
    """Request `k` answers to every prompt from `vllm serve`, and return them as `result[prompt][sample]`.

    The server receives token ids; prompts are rendered and tokenized here. Answers are missing for a prompt
    that fills the context of the server. The numbers of truncated answers and of prompts without answers are
    printed.
    """
    from boresight.data.stop_tokens import end_of_turn
    from boresight.llm.vllm import VllmServer
    from boresight.models.load import load_tokenizer
    from boresight.models.sampler.generate import generate

    tokenizer = load_tokenizer(section.model or "")
    stops = dict.fromkeys([end_of_turn(tokenizer).id, tokenizer.eos_token_id])
    params = _params(settings, tuple(stop for stop in stops if stop is not None))
    server = VllmServer(section.base_url or "", os.environ.get(section.key_env), section=f"systems.{name}")
    asked = _Asked(name, prompts, tokenizer, server.context)
    asked.print_unanswerable(console)
    samples = generate(server.base_model(), tokenizer, asked.conversations, params, k, sampler=server.sample)
    return asked.responses(samples, k, settings.max_new_tokens, console)


def responses_of(
    name: str,
    section: SystemSection,
    prompts: Sequence[Prompt],
    recipe: EvaluationRecipe,
    k: int,
    ledger: Path,
    console: Console,
) -> list[list[Response]]:
    """Generate or request `k` answers of a system to every prompt, as `result[prompt][sample]`.

    The numbers of truncated and missing answers are printed, and a warning if all answers are
    identical for at least half of the prompts.

    Args:
        ledger: file in which replies of endpoints are stored.
    """
    settings = recipe.generate
    if section.endpoint is not None:
        budget = recipe.budget
        found = endpoint_responses(name, section.endpoint, prompts, settings, k, ledger, budget, console)
    elif section.base_url is not None:
        found = vllm_responses(name, section, prompts, settings, k, console)
    else:
        found = generate_responses(name, section.model or "", prompts, settings, k, console)
    alike = IdenticalSamples()
    for group in found:
        alike.add([response.text for response in group if response.text is not None])
    if said := alike.sentence(name, settings.temperature):
        print_warning(console, said)
    return found


def _params(settings: GenerateSection, stop_token_ids: tuple[int, ...] = ()) -> SamplingParams:
    from boresight.models.sampler.params import SamplingParams

    return SamplingParams(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        seed=settings.seed,
        stop_token_ids=stop_token_ids,
    )


class _Asked:
    """Prompts for the system `name`, some of which may leave no room for an answer.

    `context` is the maximum number of tokens of a prompt and its answer; None for no limit.
    """

    def __init__(
        self, name: str, prompts: Sequence[Prompt], tokenizer: Tokenizer, context: int | None
    ) -> None:
        from boresight.data.chat import encode_prompt
        from boresight.models.limits import room_for_answers

        self.name, self.prompts = name, prompts
        self.rooms = room_for_answers(context, [len(encode_prompt(tokenizer, p.prompt)) for p in prompts])

    @property
    def conversations(self) -> list[list[Message]]:
        """The prompts that leave room for an answer."""
        return [p.prompt for p, room in zip(self.prompts, self.rooms, strict=True) if room != 0]

    def print_unanswerable(self, console: Console) -> None:
        """Print the number of prompts that fill the context, unless there are none."""
        if filled := self.rooms.count(0):
            said = f"{self.name}: {filled:,} of {len(self.rooms):,} prompts have no answer: they fill the "
            print_warning(console, f"{said}model's context.")

    def responses(
        self, samples: Sequence[Sequence[Sample]], k: int, most: int, console: Console
    ) -> list[list[Response]]:
        """Return the answers to all prompts as `result[prompt][sample]`, and print how many are truncated.

        Args:
            samples: the samples for `conversations`; prompts without room for an answer get missing answers.
            k: number of samples per prompt.
            most: maximum number of tokens of an answer.
        """
        finishes = [s.finish for group in samples for s in group]
        if cut := finishes.count("length"):
            limit = f"{most:,} tokens"
            if any(room is not None and room < most for room in self.rooms):
                limit += " or the end of the model's context"
            said = f"{self.name}: {cut:,} of {len(finishes):,} answers reached {limit} and are cut."
            print_warning(console, said)
        given = iter(samples)
        return [[MISSING] * k if room == 0 else list(map(_response, next(given))) for room in self.rooms]


def _response(sample: Sample) -> Response:
    return Response(sample.text, sample.finish == "length", sample.cut_at)


def as_system(name: str, prompts: Sequence[Prompt], found: Sequence[Sequence[Response]]) -> System:
    """Return the system with the first of the answers `found[prompt]` to each prompt."""
    firsts = {p.id: responses[0] for p, responses in zip(prompts, found, strict=True)}
    cut_at = {id: first.cut_at for id, first in firsts.items() if first.cut_at is not None}
    return System(name, {id: first.text for id, first in firsts.items()}, cut_at)


def write_answers(path: Path, prompts: Sequence[Prompt], system: System) -> None:
    """Write the answers of a system to a file that a recipe can read with `answers: FILE`, atomically."""
    rows = (
        {
            "id": p.id,
            "prompt": p.prompt,
            "answer": system.answers.get(p.id),
            CUT_AT: system.cut_at.get(p.id),
        }
        for p in prompts
    )
    write_hashed_jsonl(path, rows)


def _answered(row: object, where: str) -> SystemAnswer:
    if not isinstance(row, dict):
        raise UserError(f"{where}: not an object; write one with prompt and answer.")
    row = with_lists(row, where)
    field = next((name for name in ANSWER_FIELDS if name in row), None)
    if field is None:
        raise UserError(f"{where}: there is no answer; name the column {' or '.join(ANSWER_FIELDS[:4])}.")
    answer = row[field]
    if answer is not None and not isinstance(answer, str):
        raise UserError(f"{where}: `{field}` is not text; give the answer, or null where there is none.")
    asked = next((name for name in PROMPT_FIELDS if row.get(name) is not None), None)
    if asked is None and row.get("id") is None:
        raise UserError(f"{where}: `prompt` and `id` are both missing; give one to match answers by.")
    id = None if row.get("id") is None else str(row["id"])
    conversation = None if asked is None else to_conversation(row[asked], asked, where)
    return SystemAnswer(id, conversation, answer, _cut_at(row, field, where))


def with_lists(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the row with messages and lists parsed that are stored as text.

    Raises:
        UserError: such a text cannot be parsed.
    """
    try:
        return read_text(row)
    except BadField as error:
        raise UserError(f"{where}: {error}.") from None


def _cut_at(row: Mapping[str, Any], field: str, where: str) -> int | None:
    """Return the number of tokens after which the answer in column `field` was cut; None if unknown."""
    name = f"{field}_{CUT_AT}" if f"{field}_{CUT_AT}" in row else CUT_AT
    found = row.get(name)
    if found is not None and not is_count(found):
        raise UserError(
            f"{where}: `{name}` is not a number of tokens; give one where the answer was cut, or null."
        )
    return found


def to_conversation(value: object, field: str, where: str) -> list[Message]:
    """Convert a prompt to messages; it may be text or messages. Raises `UserError` for anything else."""
    if isinstance(value, str):
        return [Message(role="user", content=value)]
    try:
        return to_messages(value, field)
    except BadField as error:
        raise UserError(f"{where}: {error}.") from None
