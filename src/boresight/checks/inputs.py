"""Collect the inputs of the checks, as far as they are available.

Any input may be missing, for example if a folder does not exist or data cannot be read. Its error message is
then recorded, which is the one that training would stop with, and the checks that do not need it still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import ParamSpec, TypeVar

from boresight.checks.data.examples import SAMPLE, Examples, some_in_memory
from boresight.checks.data.tokens import Tokens
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError, named_first_line
from boresight.core.schema import Message
from boresight.data.prepare import Dataset
from boresight.data.rendering.choose import adds_bos, ensure_chat_template
from boresight.data.rendering.split_turns import split_turns
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.rows import Row, RowOrReason
from boresight.data.stop_tokens import SYSTEM, end_of_turn, wire_stop_tokens
from boresight.data.tokenize import fit
from boresight.data.tokenizer import Tokenizer
from boresight.methods.published import PUBLISHED
from boresight.models.checkpoint.generation_config import read_generation_config
from boresight.models.checkpoint.leftovers import Allowed
from boresight.models.checkpoint.pretrained import skeleton
from boresight.models.checkpoint.skeleton import whole_skeleton
from boresight.models.dropout import set_dropout
from boresight.models.load import load_tokenizer
from boresight.models.lora import attach
from boresight.models.policy import Policy
from boresight.models.source import Unreachable, locate
from boresight.training.forward import kind_of

P = ParamSpec("P")
T = TypeVar("T")
NO_LIMIT = 10**9
PROBE: list[Message] = [
    {"role": "user", "content": "What is a tide?"},
    {"role": "assistant", "content": "Water that moves."},
]
SIZE = re.compile(r"(?<!\d)(\d{1,6}(?:\.\d{1,6})?)([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass
class Missing:
    """Error messages of the inputs that could not be read, by name.

    `refused` holds the inputs that training would refuse with the same message, since it reads them with the
    same functions; `why` holds the inputs that could not be checked.

    Args:
        elsewhere: whether the run is planned for another machine, so that an unreachable hub is not an error.
    """

    elsewhere: bool = False
    why: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def attempt(self, part: str, get: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call `get` and return its result; if it raises, record the message under `part` and return None."""
        try:
            return get(*args, **kwargs)
        except UserError as problem:
            silent = self.elsewhere and isinstance(problem, Unreachable)
            (self.why if silent else self.refused)[part] = str(problem)
        except Exception as problem:  # a check that breaks must not stop a run that would work
            self.why[part] = named_first_line(problem)
        return None


def read_examples(data: Dataset) -> Examples:
    """Return the training examples, as many as fit into memory, and the held-out examples.

    Raises:
        UserError: the data cannot be read.
    """
    split = data.split
    train = split.train.examples
    return Examples(some_in_memory(train), split.eval.examples, all_train=train, shortage=split.shortage)


def make_tokens(recipe: Recipe, data: Dataset, tokenizer: Tokenizer) -> Tokens:
    """Tokenize up to `SAMPLE` examples at full length.

    The result also contains one conversation as rendered by each chat template.
    """
    own = tokenizer.chat_template
    written = {"model": rendered(tokenizer)} if own and kind_of(recipe).data != "demonstration" else {}
    ensure_chat_template(tokenizer, recipe.model.chat_template)
    written["training"] = rendered(tokenizer)
    sampled = sample_rows(data, tokenizer)
    made = fit([*chain.from_iterable(sampled)], NO_LIMIT)
    return Tokens(
        rows=made.rows,
        end=end_of_turn(tokenizer),
        max_length=recipe.data.max_length,
        truncation=recipe.data.truncation,
        pad=tokenizer.pad_token_id,
        bos=tokenizer.bos_token_id,
        adds_bos=adds_bos(tokenizer),
        own_template=recipe.model.chat_template is None,
        unknown=tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.bos_token_id else None,
        refused=made.dropped,
        templates={user: text for user, text in written.items() if text is not None},
        split=split_turns(sampled),
        sampled=len(sampled),
    )


def sample_rows(data: Dataset, tokenizer: Tokenizer) -> list[list[RowOrReason]]:
    """Return the rows of up to `SAMPLE` evenly spaced training examples, as `result[example][row]`.

    Each row has the id of its example in the file. An example without a row has the reason instead.
    """
    examples = data.split.train.examples
    step = max(1, len(examples) // SAMPLE)
    sample = range(0, len(examples), step)[:SAMPLE]
    made = data.rows(tokenizer).train.outcomes(sample)
    return [
        [renamed(outcome, examples[index].id) for outcome in outcomes]
        for index, outcomes in zip(sample, made, strict=True)
    ]


def renamed(outcome: RowOrReason, id: str) -> RowOrReason:
    """Return a row, or the reason why there is none, with another id."""
    return replace(outcome, id=id) if isinstance(outcome, Row) else (id, outcome[1])


def rendered(tokenizer: Tokenizer) -> str | None:
    """Render one conversation with the tokenizer's chat template; None if the template cannot render it."""
    for conversation in (PROBE, [SYSTEM, *PROBE]):
        with suppress(TemplateRefusal):
            return render_messages(tokenizer, conversation)
    return None


def make_tokenizer(recipe: Recipe) -> Tokenizer:
    """Return the recipe's tokenizer, before the recipe's chat template is set.

    Raises:
        UserError: there is no such tokenizer.
    """
    return load_tokenizer(recipe.model.name)


def make_skeleton(recipe: Recipe, tokenizer: Tokenizer) -> Policy:
    """Return the recipe's model without weights, on torch's `meta` device.

    Stop tokens and adapters are set up as in training.

    Raises:
        UserError: for the same reasons as in training: there is no such model, its checkpoint lacks weights
            or has too many (by the headers of its files), or the adapters fit no layer of it.
    """
    name, head = recipe.model.name, kind_of(recipe).head
    source, allowed = locate(name), Allowed((*recipe.model.allow_weights,))
    model = whole_skeleton(source, name, head, allowed)
    if head == "score":  # stop tokens and the sizes for a forecast are the language model's
        model = skeleton(source, name, "lm")
    model.generation_config = read_generation_config(source) or model.generation_config
    if recipe.model.dropout is not None:
        set_dropout(model.config, recipe.model.dropout)
    ensure_chat_template(tokenizer, recipe.model.chat_template)
    wire_stop_tokens(model, tokenizer)
    return attach(model, recipe.model.lora, seed=0) if recipe.model.lora else model


def size_of(recipe: Recipe, model: Policy | None) -> int | None:
    """Return the number of parameters without adapters; None if unknown.

    They are counted on `model`, else looked up by name, else parsed from a name such as `…-0.5B`.
    """
    if model is not None:
        return sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    name = recipe.model.name.rsplit("/", 1)[-1]
    known = {setting.model: setting.parameters for own in PUBLISHED.values() for setting in own}
    if name in known:
        return known[name]
    found = SIZE.search(name)
    return round(float(found[1]) * (1e9 if found[2] in "bB" else 1e6)) if found else None
