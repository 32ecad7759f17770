"""Check token rows: the loss mask, truncation, and whether training, model and evaluation use the same chat
template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from boresight.core.wording import percent
from boresight.data.rendering.split_turns import SplitTurns
from boresight.data.rows import Completion, Row
from boresight.data.stop_tokens import EndOfTurn
from boresight.findings.finding import Finding, error, graded, note, warning

SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Tokens:
    """Token rows before truncation, and the settings of tokenizer and recipe to compare them with.

    Args:
        pad: id of the padding token; None if the tokenizer has none. `bos` and `unknown` are the ids of the
            beginning-of-sequence token and of the unknown token.
        refused: `(id, reason)` of each example that gives no row, whatever the maximum length.
        templates: one fixed conversation as rendered by each user of a chat template (`training`, `model`,
            `evaluation`).
        adds_bos: whether the tokenizer puts a beginning-of-sequence token before text.
        own_template: whether the chat template is the model's own.
        split: counts of the conversations among the `sampled` examples that become several rows; None if each
            becomes one row.
    """

    rows: Sequence[Row]
    end: EndOfTurn
    max_length: int
    truncation: str = "drop"
    pad: int | None = None
    bos: int | None = None
    unknown: int | None = None
    refused: Sequence[tuple[str, str]] = ()
    templates: Mapping[str, str] = field(default_factory=dict)
    adds_bos: bool = False
    own_template: bool = False
    split: SplitTurns | None = None
    sampled: int | None = None

    @cached_property
    def completions(self) -> list[tuple[str, Completion]]:
        """`(row id, completion)` of every completion of all rows."""
        return [(row.id, c) for row in self.rows for c in row.completions]

    @property
    def total(self) -> int:
        """Number of rows of the checked examples, including examples that the template refuses."""
        return len(self.rows) + len(self.refused)

    @property
    def per_example(self) -> float:
        """Mean number of rows per checked example."""
        return self.total / (self.sampled or self.total)


def template_mismatch(tokens: Tokens) -> Finding | None:
    """Return the finding `template-mismatch` if the chat templates differ, else None.

    Compared are one conversation's renderings in training, by the model's own template, and in evaluation.
    """
    mine = tokens.templates.get("training")
    for name, theirs in tokens.templates.items():
        if mine is not None and theirs != mine:
            return _differing(name, mine, theirs)
    return None


def all_masked(tokens: Tokens) -> Finding | None:
    """Return the finding `all-masked` if any completion has no scored token, else None."""
    ids = _ids(tokens, lambda c: c.scored == 0)
    if not ids:
        return None
    return graded(
        "all-masked",
        len(ids) / len(tokens.rows),
        0.01,
        f"In {len(ids):,} of {len(tokens.rows):,} rows an answer has no scored token, so its log-probability "
        "is exactly 0, and a preference loss stays at 0.6931.",
        "Raise data.max_length, and look at the mask with `boresight data show`.",
        ids=ids,
    )


def pad_masks_eos(tokens: Tokens) -> Finding | None:
    """Return the finding `pad-masks-eos` if end-of-turn tokens are masked as padding, else None.

    That happens if both are the same token.
    """
    ids = _ids(tokens, lambda c: _ends(c, tokens.end.id) and not c.mask[-1])
    if not ids or tokens.pad != tokens.end.id:
        return None
    return error(
        "pad-masks-eos",
        f"The padding token is the end-of-turn token {tokens.end.text}, and masking it away leaves that "
        f"token unscored in {len(ids):,} of {len(tokens.rows):,} rows: the model never learns to stop.",
        "Mask by position, never by token id, or give padding a token of its own.",
        ids=ids,
    )


def eos_not_scored(tokens: Tokens) -> Finding | None:
    """Return the finding `eos-not-scored` if end-of-turn tokens are not scored, else None.

    More than 1 % of the rows must end with the token without scoring it.
    """
    ids = _ids(tokens, lambda c: _ends(c, tokens.end.id) and not c.mask[-1])
    if len(ids) <= 0.01 * len(tokens.rows):
        return None
    return error(
        "eos-not-scored",
        f"The end-of-turn token {tokens.end.text} stands at the end of {len(ids):,} of {len(tokens.rows):,} "
        "rows but is not scored: the model never learns to stop.",
        "Let the loss mask include the end-of-turn token.",
        ids=ids,
    )


def eos_missing(tokens: Tokens) -> Finding | None:
    """Return the finding `eos-missing` if answers end without the end-of-turn token, else None.

    More than 1 % of the rows must have such an answer; truncated answers do not count.
    """
    ids = _ids(tokens, lambda c: not c.truncated and c.scored > 0 and not _ends(c, tokens.end.id))
    if len(ids) <= 0.01 * len(tokens.rows):
        return None
    return error(
        "eos-missing",
        f"{len(ids):,} of {len(tokens.rows):,} rows have an answer that does not end with {tokens.end.text} "
        "although it is not truncated: the trained model will not stop.",
        "Use a chat template that ends an assistant's turn with a special token.",
        ids=ids,
    )


def double_bos(tokens: Tokens) -> Finding | None:
    """Return the finding `double-bos` if any prompt begins with two BOS tokens, else None."""
    twice = [r.id for r in tokens.rows if tokens.bos is not None and list(r.prompt[:2]) == [tokens.bos] * 2]
    if not twice:
        return None
    return error(
        "double-bos",
        f"{len(twice):,} of {len(tokens.rows):,} prompts begin with two beginning-of-sequence tokens: the "
        "template writes one and the tokenizer adds another.",
        "Tokenize rendered text without adding special tokens, and keep the token out of the data.",
        ids=twice,
    )


def bos_missing(tokens: Tokens) -> Finding | None:
    """Prompts without the beginning-of-sequence token that the tokenizer puts before all other text."""
    if not tokens.adds_bos:
        return None
    without = [row.id for row in tokens.rows if not len(row.prompt) or row.prompt[0] != tokens.bos]
    if not without:
        return None
    build = note if tokens.own_template else warning
    return build(
        "bos-missing",
        f"{len(without):,} of {len(tokens.rows):,} prompts do not begin with the beginning-of-sequence "
        "token that the tokenizer puts before every text, so the input differs from that of the model's "
        "training.",
        "Begin the chat template with {{ bos_token }}; chatml and plain write it where the tokenizer does.",
        ids=without,
    )


def padding_in_rows(tokens: Tokens) -> Finding | None:
    """Return the finding `padding-in-rows` if rows begin or end with padding tokens, else None."""
    if tokens.pad is None or tokens.pad == tokens.end.id:
        return None
    left = [row.id for row in tokens.rows if len(row.prompt) and row.prompt[0] == tokens.pad != tokens.bos]
    right = _ids(tokens, lambda c: _ends(c, tokens.pad))
    if not left and not right:
        return None
    side, ids = ("left", left) if left else ("right", right)
    return error(
        "padding-in-rows",
        f"{len(ids):,} of {len(tokens.rows):,} rows are padded on the {side}, so positions and attention "
        "count tokens that are not there.",
        "Keep rows unpadded; batches are packed.",
        ids=ids,
    )


def template_refuses(tokens: Tokens) -> Finding | None:
    """Return the finding `template-refuses` if the template cannot render a conversation, else None."""
    refused = tokens.refused
    if not refused:
        return None
    return graded(
        "template-refuses",
        len(refused) / tokens.total,
        0.2,
        f"{len(refused):,} of {tokens.total:,} examples are dropped because of the chat template, the "
        f"first for this reason: {refused[0][1].rstrip('.')}.",
        "Change these conversations, or set model.chat_template to a template that takes them.",
        ids=[id for id, _ in refused],
    )


def turns_split(tokens: Tokens) -> Finding | None:
    """Return the finding `turns-split` if some conversations become several rows, else None.

    They do so where the template renders earlier turns differently from the last one.
    """
    if tokens.split is None:
        return None
    return note(
        "turns-split",
        f"Among {tokens.sampled or tokens.total:,} examples checked: {tokens.split.sentence}.",
        "Nothing needs to be done; data that end with the answer to learn give one row each.",
        count=tokens.split.conversations,
    )


def unknown_tokens(tokens: Tokens) -> Finding | None:
    """Return the finding `unknown-tokens` if any row contains the unknown token, else None."""
    if tokens.unknown is None:
        return None
    ids = [row.id for row in tokens.rows if any(tokens.unknown in part for part in _parts(row))]
    if not ids:
        return None
    return graded(
        "unknown-tokens",
        len(ids) / len(tokens.rows),
        0.05,
        f"{len(ids):,} of {len(tokens.rows):,} rows hold the unknown token: the tokenizer cannot write their "
        "text.",
        "Use data made for this model, or another model.",
        ids=ids,
    )


def chosen_truncated(tokens: Tokens) -> Finding | None:
    """Return the finding `chosen-truncated` if mostly chosen answers are truncated, else None.

    `data.max_length` must cut them at least twice as often as rejected ones, and more than 5 % of the rows.
    """
    return _truncated(tokens, 0)


def rejected_truncated(tokens: Tokens) -> Finding | None:
    """Return the finding `rejected-truncated` if mostly rejected answers are truncated, else None.

    `data.max_length` must cut them at least twice as often as chosen ones, and more than 5 % of the rows.
    """
    return _truncated(tokens, 1)


def rows_truncated(tokens: Tokens) -> Finding | None:
    """Return the finding `rows-truncated` if more than 5 % of the rows exceed `data.max_length`, else None.

    Rows of which mostly one side is cut have a finding of their own (`chosen_truncated`,
    `rejected_truncated`).
    """
    ids = [row.id for row in tokens.rows if any(_cut(tokens, row))]
    share = len(ids) / max(1, len(tokens.rows))
    if share <= 0.05 or _side_cut_more(tokens) is not None:
        return None
    return warning(
        "rows-truncated",
        f"{percent(share)} of {len(tokens.rows):,} rows are longer than data.max_length "
        f"{tokens.max_length:,}; "
        f"{_consequence(tokens)}.",
        "Raise data.max_length.",
        ids=ids,
    )


def few_truncated(tokens: Tokens) -> Finding | None:
    """Return the finding `few-truncated` if some rows, at most 5 %, exceed `data.max_length`, else None."""
    ids = [row.id for row in tokens.rows if any(_cut(tokens, row))]
    share = len(ids) / max(1, len(tokens.rows))
    if not 0 < share <= 0.05:
        return None
    return note(
        "few-truncated",
        f"{percent(share)} of {len(tokens.rows):,} rows are longer than data.max_length "
        f"{tokens.max_length:,}; "
        f"{_consequence(tokens)}.",
        "Raise data.max_length if they matter.",
        ids=ids,
    )


def _truncated(tokens: Tokens, side: int) -> Finding | None:
    if _side_cut_more(tokens) != side:
        return None
    cuts = [_cut(tokens, row) for row in tokens.rows]
    ids = [row.id for row, cut in zip(tokens.rows, cuts, strict=True) if cut[side]]
    other = sum(cut[1 - side] for cut in cuts)
    mine, theirs = SIDES[side], SIDES[1 - side]
    return warning(
        f"{mine}-truncated",
        f"data.max_length {tokens.max_length:,} is too short for the {mine} answer of {len(ids):,} of "
        f"{len(tokens.rows):,} rows and for the {theirs} answer of {other:,}; {_consequence(tokens)}, which "
        "changes what the labels say about length.",
        "Raise data.max_length until both sides fit.",
        ids=ids,
    )


def _side_cut_more(tokens: Tokens) -> int | None:
    """Return the side (0 chosen, 1 rejected) that is cut at least twice as often as the other, else None.

    None as well if at most 5 % of the rows are cut.
    """
    cuts = [_cut(tokens, row) for row in tokens.rows if len(row.completions) == 2]
    if sum(map(any, cuts)) <= 0.05 * max(1, len(tokens.rows)):
        return None
    chosen, rejected = (sum(cut[side] for cut in cuts) for side in (0, 1))
    if max(chosen, rejected) < 2 * min(chosen, rejected):
        return None
    return 0 if chosen > rejected else 1


def _cut(tokens: Tokens, row: Row) -> list[bool]:
    """Return for each completion of a row whether it exceeds `data.max_length` together with the prompt."""
    room = tokens.max_length - len(row.prompt)
    return [len(c.ids) > room or c.truncated for c in row.completions]


def _consequence(tokens: Tokens) -> str:
    if tokens.truncation == "cut":
        return "they lose their end and with it the end-of-turn token"
    return "they are dropped" if tokens.truncation == "drop" else "training will stop at the first of them"


def _ids(tokens: Tokens, holds: Callable[[Completion], bool]) -> list[str]:
    """Return the ids of the rows with a completion for which `holds` returns True, each id once."""
    return list(dict.fromkeys(id for id, completion in tokens.completions if holds(completion)))


def _ends(completion: Completion, token: int | None) -> bool:
    return len(completion.ids) > 0 and completion.ids[-1] == token


def _parts(row: Row) -> list[np.ndarray]:
    return [row.prompt, *(c.ids for c in row.completions)]


def _differing(name: str, mine: str, theirs: str) -> Finding:
    at = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), 0)
    a, b = mine[max(0, at - 8) : at + 24], theirs[max(0, at - 8) : at + 24]
    return error(
        "template-mismatch",
        f"Training writes a conversation as {a!r} where the {name} template writes {b!r}: the model would be "
        "used on text it was not trained on.",
        "Use one chat template everywhere; omit model.chat_template to keep the model's own.",
    )
