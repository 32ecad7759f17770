"""Convert rows to the input of a loss, with one function per kind of input.

`INPUT_KINDS` is the only place that refers to both rows and losses. A new pairwise method needs no change
here; a new kind of input needs its dataclass in `methods/inputs.py` and one entry below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.data.rows import Row
from boresight.methods.inputs import (
    GroupLogps,
    GroupTokenLogps,
    LabeledLogps,
    LossInput,
    OnlinePairLogps,
    PairLogps,
    PairScores,
    PolicyPairLogps,
    SequenceLogps,
)
from boresight.models.kernels.to_device import like, to_device
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import Policy
from boresight.models.reference.frozen import LiveReference, Reference
from boresight.models.reward import completion_scores

RowSequence = Sequence[Row]


@dataclass(frozen=True, slots=True)
class InputKind:
    """Requirements of an input type, and how it is computed.

    `data` is the kind of training data. With `prompt`, answers are sampled during training; `samples` is then
    what is sampled per prompt: a group from the policy, or a pair, one of which may be from the reference.
    `head` is the output of the model: that of a language model, or one scalar per sequence. `mismatched`:
    rows contain an answer to another prompt, from which the KL is estimated over the batch.

    `build` runs the policy. `unmoved` returns the same input without a forward, from stored log-probabilities
    that are still those of the policy: the reference's before the first step, or the sampler's for fresh
    samples. It returns None if no such log-probabilities are stored.
    """

    data: str
    needs_reference: bool
    build: Callable[[Policy, Reference | None, RowSequence, float], LossInput]
    unmoved: Callable[[Reference | None, RowSequence], LossInput | None] = lambda reference, rows: None
    head: Literal["lm", "score"] = "lm"
    samples: Literal["group", "pair"] | None = None
    mismatched: bool = False

    @property
    def online(self) -> bool:
        """Whether answers are sampled during training."""
        return self.data == "prompt"


def _sequence(
    model: Policy, reference: Reference | None, rows: Sequence[Row], temperature: float
) -> SequenceLogps:
    logps = completion_logprobs(model, rows, temperature=temperature)
    return SequenceLogps(policy=logps.sums[:, 0], length=logps.lengths[:, 0])


def _policy_pair(
    model: Policy, reference: Reference | None, rows: Sequence[Row], temperature: float
) -> PolicyPairLogps:
    logps = completion_logprobs(model, rows, temperature=temperature)
    return PolicyPairLogps(*logps.sums.unbind(1), *logps.lengths.unbind(1))


def _pair(model: Policy, reference: Reference | None, rows: RowSequence, temperature: float) -> PairLogps:
    assert reference is not None
    logps = completion_logprobs(model, rows, temperature=temperature)
    ref = like(reference(rows), logps.sums)
    return PairLogps(*logps.sums.unbind(1), *ref.unbind(1), *logps.lengths.unbind(1))


def _unmoved_pair(reference: Reference | None, rows: RowSequence) -> PairLogps | None:
    if reference is None:
        return None
    ref = reference(rows)
    return PairLogps(*ref.unbind(1), *ref.unbind(1), *like(_lengths(rows), ref).unbind(1))


def _labeled(
    model: Policy, reference: Reference | None, rows: RowSequence, temperature: float
) -> LabeledLogps:
    assert reference is not None
    logps = completion_logprobs(model, rows, temperature=temperature)
    policy = logps.sums[:, 0]
    kl = torch.full_like(policy, math.nan)  # the KL is estimated from the whole batch, not from these rows
    return LabeledLogps(
        policy, like(reference(rows), policy)[:, 0], logps.lengths[:, 0], _labels(rows, policy), kl
    )


def _unmoved_labeled(reference: Reference | None, rows: RowSequence) -> LabeledLogps | None:
    if reference is None:
        return None
    ref = reference(rows)[:, 0]
    return LabeledLogps(ref, ref, like(_lengths(rows)[:, 0], ref), _labels(rows, ref), torch.zeros_like(ref))


def _labels(rows: RowSequence, logps: Tensor) -> Tensor:
    """Return whether each row's answer is a good one, bool `(rows,)`, on the device of `logps`."""
    return to_device(torch.tensor([row.scores[0] > 0 for row in rows]), logps.device)


def _online_pair(
    model: Policy, reference: Reference | None, rows: Sequence[Row], temperature: float
) -> OnlinePairLogps:
    pair = _pair(model, reference, rows, temperature)
    won_by_ref = torch.tensor([row.from_reference[0] for row in rows])
    return OnlinePairLogps(
        **_fields(pair),
        chosen_from_ref=to_device(won_by_ref, pair.policy_chosen.device),
    )


def _group(model: Policy, reference: Reference | None, rows: RowSequence, temperature: float) -> GroupLogps:
    logps = completion_logprobs(model, rows, temperature=temperature)
    known = like(_old_logps(rows), logps.sums)
    old = torch.where(known.isnan(), logps.sums.detach(), known)
    ref = old if reference is None else like(reference(rows), old)
    return _group_of(rows, logps.sums, old, ref, logps.lengths)


def _token_group(
    model: Policy, reference: Reference | None, rows: RowSequence, temperature: float
) -> GroupTokenLogps:
    logps = completion_logprobs(model, rows, temperature=temperature, tokens=True)
    assert logps.tokens is not None
    known = like(_old_logps(rows), logps.sums)
    old = torch.where(known.isnan(), logps.sums.detach(), known)
    old_tokens = _old_token_logps(rows, logps.tokens)
    ref, ref_tokens = old, old_tokens
    if reference is not None:
        assert isinstance(reference, LiveReference), "sampled groups have a reference that is run"
        ref_tokens = like(reference.tokens(rows), old_tokens)
        ref = ref_tokens.sum(-1)
    group = _group_of(rows, logps.sums, old, ref, logps.lengths)
    tokens = {"policy_tokens": logps.tokens, "old_tokens": old_tokens, "ref_tokens": ref_tokens}
    return GroupTokenLogps(**_fields(group), **tokens)


def _old_token_logps(rows: RowSequence, now: Tensor) -> Tensor:
    """Return the trainer's token log-probabilities before the first update, in the shape of `now`.

    Rows without stored ones have had no update, so theirs are the values in `now`.
    """
    old = now.detach().clone()
    for i, row in enumerate(rows):
        for j, completion in enumerate(row.completions):
            if completion.old_token_logps is not None:
                old[i, j, : completion.scored] = old.new_tensor(completion.old_token_logps)
    return old


def _unmoved_token_group(reference: Reference | None, rows: RowSequence) -> GroupTokenLogps | None:
    group = _unmoved_group(reference, rows)
    return None if group is None else GroupTokenLogps(**_fields(group))


def _fields(x: LossInput) -> dict[str, Tensor]:
    return {f.name: getattr(x, f.name) for f in fields(x)}


def _unmoved_group(reference: Reference | None, rows: RowSequence) -> GroupLogps | None:
    """Return the input from the sampler's log-probabilities, without a forward.

    None with a reference, since its log-probabilities of fresh samples are not stored.
    """
    old = _sampled_logps(rows)
    if reference is not None or old.isnan().any():
        return None
    return _group_of(rows, old, old, old, _lengths(rows))


def _group_of(rows: RowSequence, policy: Tensor, old: Tensor, ref: Tensor, length: Tensor) -> GroupLogps:
    drawn = like(_sampled_logps(rows), old)
    truncated = torch.tensor([[c.truncated for c in row.completions] for row in rows])
    importance = torch.tensor([[c.importance for c in row.completions] for row in rows])
    return GroupLogps(
        policy=policy,
        old=old,
        ref=ref,
        reward=like(torch.tensor([row.scores for row in rows]), old),
        length=length,
        truncated=to_device(truncated, old.device),
        importance=like(importance, old),
        sampled=torch.where(drawn.isnan(), old, drawn),
    )


def _sampled_logps(rows: RowSequence) -> Tensor:
    """Return the sampler's log-probability of each completion, summed over its tokens, `(rows, k)`; NaN for
    completions that were not sampled."""
    return _or_nan([[c.sampled_logp for c in row.completions] for row in rows])


def _old_logps(rows: RowSequence) -> Tensor:
    """Return the trainer's log-probabilities before the first update on these rows, `(rows, k)`.

    They are NaN before that update.
    """
    return _or_nan([[c.old_logp for c in row.completions] for row in rows])


def _or_nan(values: Sequence[Sequence[float | None]]) -> Tensor:
    return torch.tensor([[math.nan if value is None else value for value in row] for row in values])


def _lengths(rows: RowSequence) -> Tensor:
    """Return the number of scored tokens of each completion, `(rows, k)`."""
    return torch.tensor([[float(c.scored) for c in row.completions] for row in rows])


def _pair_scores(
    model: Policy, reference: Reference | None, rows: Sequence[Row], temperature: float
) -> PairScores:
    chosen, rejected = completion_scores(model, rows).unbind(1)
    gaps = [row.scores[0] - row.scores[1] if row.scores else 0.0 for row in rows]
    return PairScores(chosen, rejected, like(torch.tensor(gaps), chosen))


INPUT_KINDS: dict[type[LossInput], InputKind] = {
    SequenceLogps: InputKind(data="demonstration", needs_reference=False, build=_sequence),
    PolicyPairLogps: InputKind(data="preference", needs_reference=False, build=_policy_pair),
    PairLogps: InputKind(data="preference", needs_reference=True, build=_pair, unmoved=_unmoved_pair),
    LabeledLogps: InputKind(
        data="labeled", needs_reference=True, build=_labeled, unmoved=_unmoved_labeled, mismatched=True
    ),
    PairScores: InputKind(data="preference", needs_reference=False, build=_pair_scores, head="score"),
    OnlinePairLogps: InputKind(data="prompt", needs_reference=True, build=_online_pair, samples="pair"),
    GroupLogps: InputKind(
        data="prompt", needs_reference=True, build=_group, unmoved=_unmoved_group, samples="group"
    ),
    GroupTokenLogps: InputKind(
        data="prompt", needs_reference=True, build=_token_group, unmoved=_unmoved_token_group, samples="group"
    ),
}


def kind_of(recipe: Recipe) -> InputKind:
    """Return the kind of input of the recipe's method."""
    return INPUT_KINDS[methods.get(recipe.method_name).Input]


def at_reference(x: LossInput) -> LossInput:
    """Return the inputs with the policy's log-probabilities replaced by the reference's.

    Before the first step both are equal, so `loss(at_reference(x))` is the value that the check of the
    initial loss expects for every method. Inputs without a reference are returned unchanged.
    """
    if isinstance(x, LabeledLogps):
        return replace(x, policy=x.ref, kl=torch.zeros_like(x.kl))
    if not isinstance(x, PairLogps):
        return x
    return replace(x, policy_chosen=x.ref_chosen, policy_rejected=x.ref_rejected)


def log_ratios(x: PairLogps | LabeledLogps) -> tuple[Tensor, Tensor]:
    """Return `(log-ratios, numbers of tokens)` of every completion of the batch.

    The log-ratios are log pi - log ref in nats, without gradient.
    """
    if isinstance(x, LabeledLogps):
        return x.logratio.detach(), x.length
    ratios, lengths = (x.chosen_logratio, x.rejected_logratio), (x.chosen_len, x.rejected_len)
    return torch.cat(ratios).detach(), torch.cat(lengths)
