"""Determine whether and how a model supports the packed layout, by a test that runs once per model.

Model names are not used. A few tokens are run packed and, one sequence at a time, not packed: the hidden
states must agree, and the logits must be a known function of them. A model that fails uses the padded path,
and the reason is logged.

The test uses the kernels of the run, in its precision. In half precision the results can agree only roughly,
so there the layout is first tested in float32 with attention by the plain formula, which needs no kernel.
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
"""Maximum factor by which a difference of hidden states may exceed the effect of a small perturbation of the
embeddings and still count as rounding."""

_plans: WeakKeyDictionary[nn.Module, dict[_Conditions, PackedPlan | str]] = WeakKeyDictionary()
_warned: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class PackedPlan:
    """How a model runs in the packed layout, with logits = cap(scale * lm_head(hidden)).

    Attributes:
        scale: factor of the output layer's result.
        softcap: cap(x) is softcap * tanh(x / softcap), or x if None.
        window: maximum length of a row, in tokens; None for no limit.
        partial_last_layer: whether the last layer may be computed only at some positions.
        compiled: whether layers run compiled, if the run uses fast kernels.

    For a reward model, which has no logits, `scale` and `softcap` are not used.
    """

    scale: float = 1.0
    softcap: float | None = None
    window: int | None = None
    partial_last_layer: bool = False
    compiled: bool = False

    def hidden(self, model: Policy, packed: PackedBatch, positions: Tensor) -> Tensor:
        """Return the last hidden states at distinct `positions` `(S,)` of the packed sequence,
        `(S, width)`."""
        base = causal_model(model)
        last = LastLayer.of(base) if self.partial_last_layer and applies(base, positions) else None
        if last is None:
            return self.all_hidden(model, packed)[positions]
        reused = linears_reused(base, packed, last, positions)
        with reused, fused_layers(base.base_model), last_layer_at(last, positions):
            return self._run(base, packed)

    def all_hidden(self, model: Policy, packed: PackedBatch) -> Tensor:
        """Return the last hidden states of every packed token, `(T, width)`."""
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
        """Return the output layer as plain tensors; None if it is more than a linear layer, for example with
        LoRA."""
        layer = causal_model(model).get_output_embeddings()
        if type(layer) not in (nn.Linear, HalfLinear) or not layer.weight.is_floating_point():
            return None
        return Head(layer.weight, layer.bias, self.scale, self.softcap)

    def logits(self, model: Policy, hidden: Tensor) -> Tensor:
        """Return the logits `(…, vocabulary)` of `hidden` `(…, width)` by calling the output layer as a
        module, with any wrapper around it."""
        with wide_logits(model):
            raw = causal_model(model).get_output_embeddings()(hidden) * self.scale
        return raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap


@dataclass(frozen=True, slots=True)
class _Conditions:
    """Conditions that determine which kernels a forward calls; a plan is valid for one of them."""

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
    """Return the dtype of queries, keys and values; outside of autocast, compact layers return float32."""
    if torch.is_autocast_enabled(base.device.type):
        return torch.get_autocast_dtype(base.device.type)
    return torch.float32 if is_compact(base) else base.dtype


def _is_trained(base: PreTrainedModel) -> bool:
    return any(parameter.requires_grad for parameter in base.base_model.parameters())


def _compiles_kernels(device: torch.device) -> bool:
    """Whether the kernel of a backward may fail on `device` although the kernel of the forward runs."""
    return device.type == "cuda"


def packed_plan(model: Policy, rows: Sequence[Row]) -> PackedPlan | str:
    """Return the plan by which `model` runs `rows` packed, or the reason why it cannot, as text.

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
    """Return the plan, or the reason why there is none, under `conditions`; the result of the first call is
    cached.

    `conditions` must be those of the current context.
    """
    plans = _plans.setdefault(base, {})
    if conditions not in plans:
        if conditions.backward:
            forward_alone = _plan_under(base, replace(conditions, backward=False))
            plans[conditions] = _with_backward(base, forward_alone)
        else:
            plans[conditions] = _find(base)
    return plans[conditions]


def find_plan_now(model: Policy) -> PackedPlan | str:
    """Return the plan for short rows, or the reason why there is none, as text.

    Call it before the weights of `model` are sharded, since the test needs all of them.
    """
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
    except Exception as error:  # any exception of a model means that it cannot run packed
        if memory_error(error):
            raise
        found = _rejection(base, error)
    if isinstance(found, str):
        base.set_attn_implementation(before)
    return found


def _rejection(base: PreTrainedModel, error: Exception) -> str:
    return f"{type(base).__name__} rejects packed rows: {type(error).__name__}: {error}"


def _try_out(base: PreTrainedModel, config: PreTrainedConfig) -> PackedPlan | str:
    """Run the test rows packed and not packed, in the precision and with the kernels of the current
    context."""
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
    if base.get_output_embeddings() is None:  # a reward model has no logits
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
    """Whether the last layer, computed only at scored positions, gives the `states` `(T, width)` there."""
    if LastLayer.of(base) is None:
        return False
    try:
        some = replace(plan, partial_last_layer=True).hidden(base, batch, batch.scored)
    except Exception as error:  # any exception means that the layer differs from what its names imply
        if memory_error(error):
            raise
        log.info("The last layer is computed at all positions: %s: %s", type(error).__name__, error)
        return False
    expected = states[batch.scored]
    return some.shape == expected.shape and _close(some, expected, arithmetic_of(base))


def _same_compiled(base: PreTrainedModel, plan: PackedPlan, batch: PackedBatch, states: Tensor) -> bool:
    """Whether compiled layers give the `states` `(T, width)` of `batch`; the reason is logged if they do
    not."""
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
    """Return the largest difference of the last hidden states that rounding alone may cause.

    Some tokens have very large states in a few channels, by which models amplify rounding, most of all models
    trained with LoRA. So the embeddings are changed by a few units in the last place, and the resulting
    change is measured; rounding in every layer adds as much again.
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
    """Inside the block, every entry of the embeddings is randomly increased or decreased by eight units in
    the last place."""

    def nudge(module: nn.Module, given: object, out: Tensor) -> Tensor:
        signs = torch.randint(0, 2, out.shape, generator=generator).to(out) * 2 - 1
        return out * (1 + 8 * torch.finfo(out.dtype).eps * signs)

    handle = base.get_input_embeddings().register_forward_hook(nudge)
    try:
        yield
    finally:
        handle.remove()


def _with_backward(base: PreTrainedModel, found: PackedPlan | str) -> PackedPlan | str:
    """Return `found`, the plan for forwards, or the reason why their backward fails, as text.

    On small GPUs, the kernel of the backward may fail to compile although that of the forward does compile.
    """
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
    """Run a backward, which raises an exception if its kernels fail.

    It differentiates with respect to the embedded tokens, which passes through every layer and needs no
    memory for gradients of weights. No gradient of a weight is changed.
    """
    rows = _probe_rows(base.config.get_text_config().vocab_size)
    batch = pack(rows, len(rows[0].completions), base.device, base.dtype)
    with torch.enable_grad(), gradients_in_place(False), _embeddings_as_leaves(base) as leaves:
        total = plan.all_hidden(base, batch).float().sum()
        torch.autograd.grad(total, leaves)


@contextmanager
def _embeddings_as_leaves(base: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Inside the block, the embedded tokens of each forward are leaves that require a gradient; yield the
    list of them.

    The embedding table may be frozen, and receives no gradient.
    """
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
    """Return the plan with which `hidden` gives `logits`, or None.

    Models use several names for the scale and the cap of their logits; all are tried.
    """
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
    """Whether `a` and `b` are equal up to rounding in `dtype`, relative to the largest entry of `b`.

    The tolerance for half precision is large, because it rounds every layer's output to 8 or 11 bits.
    """
    band = {torch.float64: 1e-5, torch.float32: 1e-4}.get(dtype, 0.05)
    return bool((a - b).abs().max() <= band * b.abs().max())


def _probe_rows(vocabulary: int) -> tuple[Row, Row]:
    """Return two test rows: prompts of five and of four tokens, each with two different completions.

    The token ids are spread over the vocabulary.
    """
    ids = (np.arange(12) * 7919 + 3) % vocabulary

    def completion(part: np.ndarray) -> Completion:
        return Completion(part.astype(np.int32), np.ones(len(part), bool))

    pair = completion(ids[5:8]), completion(ids[8:])
    return Row("probe", ids[:5].astype(np.int32), pair), Row("other", ids[1:5].astype(np.int32), pair)


def _ids(base: PreTrainedModel, *parts: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))[None].to(base.device)


@contextmanager
def _in_evaluation_without_gradients(base: nn.Module) -> Iterator[None]:
    """Inside the block, gradients and dropout are disabled; afterwards all modules have their former mode."""
    training: Iterable[nn.Module] = [m for m in base.modules() if m.training]
    base.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
