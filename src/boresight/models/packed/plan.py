"""Determine whether and how a model supports the packed layout, once per model, by a test.

Names of models are not used. A few tokens are run packed and, one sequence at a time, plain: the hidden
states must agree, and the logits must be a known function of them. A model that fails uses the padded path,
and the reason is reported.

The kernels that are tried are those of the run, in its precision. In half precision agreement can only be
rough, so there the layout is first tested in float32 with attention by the plain formula, which needs no
kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from boresight.core.errors import memory_error
from boresight.data.rows import Completion, Row
from boresight.models.dropout import dropout_rates
from boresight.models.kernels.compact import HalfLinear, is_compact
from boresight.models.kernels.fast import fast_kernels, fast_kernels_error
from boresight.models.kernels.fused import fused_layers
from boresight.models.kernels.matmul import gradients_in_place
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.packed import attention
from boresight.models.packed.compiled_layers import can_compile, compiled_layers
from boresight.models.packed.head import Head
from boresight.models.packed.last_layer import LastLayer, applies, last_layer_at
from boresight.models.packed.packing import PackedBatch, pack
from boresight.models.policy import Policy, arithmetic_of, causal_model, narrowest_window
from boresight.models.precision import EXPERIMENTAL
from boresight.models.reuse.linears import linears_reused

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

log = logging.getLogger("boresight")

AMPLIFIED = 16.0
"""Factor by which a difference of hidden states may exceed the effect of a small perturbation of the
embeddings and still count as rounding."""

_plans: WeakKeyDictionary[nn.Module, dict[_Conditions, PackedPlan | str]] = WeakKeyDictionary()
_warned: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class PackedPlan:
    """How a model runs in the packed layout: rows no longer than `window`, and logits = cap(scale *
    lm_head(hidden)).

    A reward model has no logits, so only `window` applies. With `partial_last_layer` the last layer may be
    computed only at some positions, and with `compiled` the layers run compiled where the kernels are fast
    ones.
    """

    scale: float = 1.0
    softcap: float | None = None
    window: int | None = None
    partial_last_layer: bool = False
    compiled: bool = False

    def hidden(self, model: Policy, packed: PackedBatch, positions: Tensor) -> Tensor:
        """Last hidden states at distinct `positions` `(S,)` of the packed sequence, `(S, width)`."""
        base = causal_model(model)
        last = LastLayer.of(base) if self.partial_last_layer and applies(base, positions) else None
        if last is None:
            return self.all_hidden(model, packed)[positions]
        reused = linears_reused(base, packed, last, positions)
        with reused, fused_layers(base.base_model), last_layer_at(last, positions):
            return self._run(base, packed)

    def all_hidden(self, model: Policy, packed: PackedBatch) -> Tensor:
        """Last hidden states of every packed token, `(T, width)`."""
        base = causal_model(model)
        compiled = self.compiled and can_compile(base, packed)
        layers = compiled_layers(base, packed) if compiled else nullcontext()
        with linears_reused(base, packed), fused_layers(base.base_model), layers:
            return self._run(base, packed)

    def _run(self, base: PreTrainedModel, packed: PackedBatch) -> Tensor:
        out = base.base_model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask=attention.poisoned_mask(packed.ids),
            use_cache=False,
            packed=packed,
        )
        states: Tensor = out.last_hidden_state[0]
        return states

    def head(self, model: Policy) -> Head | None:
        """The output layer as plain tensors; None where it is more than a linear layer (LoRA on it)."""
        layer = causal_model(model).get_output_embeddings()
        if type(layer) not in (nn.Linear, HalfLinear) or not layer.weight.is_floating_point():
            return None
        return Head(layer.weight, layer.bias, self.scale, self.softcap)

    def logits(self, model: Policy, hidden: Tensor) -> Tensor:
        """Logits `(…, vocabulary)` of `hidden` `(…, width)` by calling the output layer as a module, with any
        wrapper around it."""
        with wide_logits(model):
            raw = causal_model(model).get_output_embeddings()(hidden) * self.scale
        return raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap


@dataclass(frozen=True, slots=True)
class _Conditions:
    """Which kernels a forward calls, and so what a plan is valid for."""

    products: torch.dtype
    attention: torch.dtype
    fast: bool
    backward: bool

    @classmethod
    def now(cls, base: PreTrainedModel) -> _Conditions:
        return cls(
            products=arithmetic_of(base),
            attention=_dtype_of_attention(base),
            fast=fast_kernels(),
            backward=_compiles_kernels(base.device) and torch.is_grad_enabled() and _is_trained(base),
        )


def _dtype_of_attention(base: PreTrainedModel) -> torch.dtype:
    """Precision of queries, keys and values: compact layers return float32 outside of autocast."""
    if torch.is_autocast_enabled(base.device.type):
        return torch.get_autocast_dtype(base.device.type)
    return torch.float32 if is_compact(base) else base.dtype


def _is_trained(base: PreTrainedModel) -> bool:
    return any(parameter.requires_grad for parameter in base.base_model.parameters())


def _compiles_kernels(device: torch.device) -> bool:
    """Whether a kernel may fail on `device` though that of the same forward without gradients ran."""
    return device.type == "cuda"


def packed_plan(model: Policy, rows: Sequence[Row]) -> PackedPlan | str:
    """The plan by which `model` runs `rows` packed, or the reason why it cannot, as text.

    Raises:
        UserError: the run uses fast kernels, and the model does not support the packed layout.
    """
    plan = _plan_or_obstacle(model, rows)
    if isinstance(plan, str) and fast_kernels():
        raise fast_kernels_error(plan)
    return plan


def _plan_or_obstacle(model: Policy, rows: Sequence[Row]) -> PackedPlan | str:
    adapters = getattr(model, "peft_config", {})
    if isinstance(adapters, dict) and any(c.is_prompt_learning for c in adapters.values()):
        return "its adapter puts virtual tokens before the prompt"
    base = causal_model(model)
    if base.device.type in EXPERIMENTAL:
        return f"{base.device.type} is experimental"
    plan = _plan_under(base, _Conditions.now(base))
    longest = max(len(row.prompt) + max(len(c.ids) for c in row.completions) for row in rows)
    if isinstance(plan, PackedPlan) and plan.window is not None and longest > plan.window:
        return f"a row of {longest} tokens exceeds the sliding window of {plan.window}"
    return plan


def _plan_under(base: PreTrainedModel, conditions: _Conditions) -> PackedPlan | str:
    """The plan, or the obstacle, under `conditions`, which must be the present ones; found at the first
    call."""
    plans = _plans.setdefault(base, {})
    if conditions not in plans:
        if conditions.backward:
            forward_alone = _plan_under(base, replace(conditions, backward=False))
            plans[conditions] = _with_backward(base, forward_alone)
        else:
            plans[conditions] = _find(base)
    return plans[conditions]


def find_plan_now(model: Policy) -> PackedPlan | str:
    """The plan for short rows, or the reason why there is none. To be called before the weights of `model`
    are sharded, since the test needs all of them."""
    return packed_plan(model, _probe_rows(causal_model(model).config.get_text_config().vocab_size))


def warn_once(model: Policy, obstacle: str) -> None:
    """Log that the padded path is used, once per model and reason."""
    said = _warned.setdefault(causal_model(model), set())
    if obstacle not in said:
        said.add(obstacle)
        log.warning("The padded path is used, which is slower and gives the same numbers: %s.", obstacle)


def _find(base: PreTrainedModel) -> PackedPlan | str:
    config = base.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"} or getattr(config, "attention_chunk_size", None):
        return f"layers of kind {', '.join(sorted(kinds)) or 'chunked_attention'} are not packed"
    if fast_kernels() and (rates := [r for name, r in dropout_rates(config).items() if "att" in name]):
        return f"the model drops attention weights in training, at a rate of {max(rates):g}"
    before = base.config._attn_implementation
    if not attention.install(base):
        remedy = "" if before in attention.DELEGATES else f" for {before!r}; load it with attention='sdpa'"
        return f"the attention of {type(base).__name__} cannot be replaced{remedy}"
    try:
        with _in_evaluation_without_gradients(base):
            found = _try_out(base, config)
    except Exception as error:  # whatever a foreign model raises means that it cannot be served
        if memory_error(error):
            raise
        found = _rejection(base, error)
    if isinstance(found, str):
        base.set_attn_implementation(before)
    return found


def _rejection(base: PreTrainedModel, error: Exception) -> str:
    return f"{type(base).__name__} rejects packed rows: {type(error).__name__}: {error}"


def _try_out(base: PreTrainedModel, config: PreTrainedConfig) -> PackedPlan | str:
    """Run probe rows plain and packed, by the kernel of the arithmetic that is on."""
    try:
        if arithmetic_of(base) != base.dtype:
            with torch.autocast(base.device.type, enabled=False):
                exact = _run_probe(base, config, plain=True)
            if isinstance(exact, str):
                return exact
        return _run_probe(base, config, plain=False)
    finally:
        # Before torch 2.10 autocast would keep its copies of the weights, made without gradient, for the
        # forward that is to be trained (pytorch issue 158232).
        torch.clear_autocast_cache()


def _run_probe(base: PreTrainedModel, config: PreTrainedConfig, *, plain: bool) -> PackedPlan | str:
    rows = _probe_rows(config.vocab_size)
    sequences = [_ids(base, row.prompt, c.ids) for row in rows for c in row.completions]
    states = [base.base_model(input_ids=ids, use_cache=False).last_hidden_state[0] for ids in sequences]
    if base.get_output_embeddings() is None:  # a reward model: its head reads hidden states itself
        plan: PackedPlan | None = PackedPlan(window=narrowest_window(config))
    else:
        with wide_logits(base):
            logits = base(input_ids=sequences[0], use_cache=False).logits[0]
        plan = _matching_logits(base, config, states[0], logits)
    if plan is None:
        return "its logits are not a known function of its hidden states"
    batch = replace(pack(rows, len(rows[0].completions), base.device, base.dtype), plain=plain)
    got = plan.all_hidden(base, batch)
    places = [(span.prompt, place) for span in batch.rows for place in span.completions]
    pairs = [
        (torch.cat([got[prompt], got[own]]), state)
        for (prompt, own), state in zip(places, states, strict=True)
    ]
    unlike = [(both, state) for both, state in pairs if not _close(both, state, arithmetic_of(base))]
    if unlike and max(float((both - state).abs().max()) for both, state in unlike) > _rounding(
        base, sequences
    ):
        return f"{type(base).__name__} returns other hidden states for packed rows than for plain ones"
    plan = replace(plan, compiled=can_compile(base, batch) and _same_compiled(base, plan, batch, got))
    return replace(plan, partial_last_layer=_same_at_some(base, plan, batch, got))


def _same_at_some(base: PreTrainedModel, plan: PackedPlan, batch: PackedBatch, states: Tensor) -> bool:
    """Whether the last layer, computed where tokens are scored, gives its `states` `(T, width)` there."""
    if LastLayer.of(base) is None:
        return False
    try:
        some = replace(plan, partial_last_layer=True).hidden(base, batch, batch.scored)
    except Exception as error:  # whatever a foreign layer raises means that it is not as its names imply
        if memory_error(error):
            raise
        log.info("The last layer is computed at all positions: %s: %s", type(error).__name__, error)
        return False
    expected = states[batch.scored]
    return some.shape == expected.shape and _close(some, expected, arithmetic_of(base))


def _same_compiled(base: PreTrainedModel, plan: PackedPlan, batch: PackedBatch, states: Tensor) -> bool:
    """Whether compiled layers give the `states` `(T, width)` of `batch`; logs the reason if they do not."""
    log.info("The layers are compiled for their first forward, which can take a minute.")
    try:
        compiled = replace(plan, compiled=True).all_hidden(base, batch)
    except Exception as error:  # of tracing or of the compiler: a layer that is not one graph
        if memory_error(error):
            raise
        first, _, _ = str(error).strip().partition("\n")
        reason = f"{type(error).__name__}: {first}"
    else:
        if _close(compiled, states, arithmetic_of(base)):
            return True
        reason = "they return other hidden states when compiled"
    log.warning("The layers of %s are not compiled, which is slower: %s.", type(base).__name__, reason)
    return False


def _rounding(base: PreTrainedModel, sequences: Sequence[Tensor]) -> float:
    """Largest difference of the last hidden states that rounding alone may cause.

    Some tokens have very large states in a few channels, by which models amplify rounding, those after
    training by LoRA the most. So the embeddings are changed by a few units in the last place, and what comes
    of it is measured; rounding in every layer does as much again.
    """
    seeds = [torch.Generator().manual_seed(seed) for seed in range(3)]
    widest = 0.0
    for ids in sequences:
        state = base.base_model(input_ids=ids, use_cache=False).last_hidden_state
        for generator in seeds:
            with _nudged_embeddings(base, generator):
                moved = base.base_model(input_ids=ids, use_cache=False).last_hidden_state
            widest = max(widest, float((moved - state).abs().max()))
    return AMPLIFIED * widest


@contextmanager
def _nudged_embeddings(base: PreTrainedModel, generator: torch.Generator) -> Iterator[None]:
    """Every entry of the embeddings is larger or smaller by eight units in the last place, by chance."""

    def nudge(module: nn.Module, given: object, out: Tensor) -> Tensor:
        signs = torch.randint(0, 2, out.shape, generator=generator).to(out) * 2 - 1
        return out * (1 + 8 * torch.finfo(out.dtype).eps * signs)

    handle = base.get_input_embeddings().register_forward_hook(nudge)
    try:
        yield
    finally:
        handle.remove()


def _with_backward(base: PreTrainedModel, found: PackedPlan | str) -> PackedPlan | str:
    """What was `found` for forwards alone, or the reason why their backward fails: on small cards its kernel
    may not compile where the forward's does."""
    if isinstance(found, str):
        return found
    try:
        with _in_evaluation_without_gradients(base):
            _try_backward(base, found)
    except Exception as error:  # of a compiler, or of a foreign model
        if memory_error(error):
            raise
        return _rejection(base, error)
    finally:
        torch.clear_autocast_cache()
    return found


def _try_backward(base: PreTrainedModel, plan: PackedPlan) -> None:
    """Raise what the backward raises.

    Differentiates with respect to the embedded tokens, which passes through every layer and needs no memory
    for gradients of weights; none of them is changed.
    """
    rows = _probe_rows(base.config.get_text_config().vocab_size)
    batch = pack(rows, len(rows[0].completions), base.device, base.dtype)
    with torch.enable_grad(), gradients_in_place(False), _embeddings_as_leaves(base) as leaves:
        total = plan.all_hidden(base, batch).float().sum()
        torch.autograd.grad(total, leaves)


@contextmanager
def _embeddings_as_leaves(base: PreTrainedModel) -> Iterator[list[Tensor]]:
    """The embedded tokens of every forward inside the block, which require a gradient, though the table may
    be frozen, and do not pass it on to the table."""
    leaves: list[Tensor] = []

    def cut(module: nn.Module, given: object, out: Tensor) -> Tensor:
        leaves.append(out.detach().requires_grad_())
        return leaves[-1].clone()  # a model may scale it in-place

    handle = base.get_input_embeddings().register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()


def _matching_logits(
    base: PreTrainedModel, config: PreTrainedConfig, hidden: Tensor, logits: Tensor
) -> PackedPlan | None:
    """The plan under which `hidden` gives `logits`; models scale and cap their logits by several names."""
    window = narrowest_window(config)
    caps = _values(config, "final_logit_softcapping", "logits_soft_cap")
    scales = _values(config, "logit_scale", "logits_scaling")
    for softcap in (*caps, None):
        for scale in (1.0, *scales, *(1 / s for s in scales)):
            plan = PackedPlan(float(scale), softcap, window)
            if _close(plan.logits(base, hidden), logits, arithmetic_of(base)):
                return plan
    return None


def _values(config: PreTrainedConfig, *names: str) -> list[float]:
    return [float(v) for v in (getattr(config, name, None) for name in names) if v]


def _close(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Equal up to the rounding of arithmetic in `dtype`, with the size of the largest entry as the yardstick.

    Half precision rounds every layer's output to 8 or 11 bits, hence its wide band.
    """
    band = {torch.float64: 1e-5, torch.float32: 1e-4}.get(dtype, 0.05)
    return bool((a - b).abs().max() <= band * b.abs().max())


def _probe_rows(vocabulary: int) -> tuple[Row, Row]:
    """Prompts of five and of four tokens, each with two unlike completions, spread over the vocabulary."""
    ids = (np.arange(12) * 7919 + 3) % vocabulary

    def completion(part: np.ndarray) -> Completion:
        return Completion(part.astype(np.int32), np.ones(len(part), bool))

    pair = completion(ids[5:8]), completion(ids[8:])
    return Row("probe", ids[:5].astype(np.int32), pair), Row("other", ids[1:5].astype(np.int32), pair)


def _ids(base: PreTrainedModel, *parts: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))[None].to(base.device)


@contextmanager
def _in_evaluation_without_gradients(base: nn.Module) -> Iterator[None]:
    """No gradients and no dropout; every module's training flag as it was afterwards."""
    training: Iterable[nn.Module] = [m for m in base.modules() if m.training]
    base.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
