"""Load, shard and describe the model that a run trains."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.core.wording import plural
from boresight.data.prepare import Prepared
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.data.tokenizer import Tokenizer
from boresight.models import lora
from boresight.models.checkpoint.leftovers import Allowed, Leftovers
from boresight.models.head import mark_reading
from boresight.models.kernels.compact import compact_frozen, count_parameters
from boresight.models.kernels.fast import refuse_missing_kernels
from boresight.models.kernels.split_weights import is_split, split_obstacle, split_weights
from boresight.models.lengths import length_switches
from boresight.models.load import device_called, load_model
from boresight.models.lora import attach
from boresight.models.policy import Policy, causal_model
from boresight.models.precision import resolve_dtype
from boresight.models.reward import load_reward_model, wire_pad_token
from boresight.models.sharding import fits
from boresight.models.source import print_note_on_base
from boresight.training import activations
from boresight.training.build import batch_plan
from boresight.training.checkpoints.sharded import can_write_parts
from boresight.training.choices import Choices
from boresight.training.distributed import collectives
from boresight.training.footprint.base import base_form, refuse_host_bits, splits_weights
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.forward import InputKind, kind_of
from boresight.training.optimizer.learning_rate import learning_rate_sum
from boresight.training.rollouts.reuse import ReuseChoice, reuse_choice

log = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed every random generator that a run may use."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def load_policy(
    recipe: Recipe, kind: InputKind, tokenizer: Tokenizer, *, split: bool | None = None
) -> tuple[Policy, Mapping[str, Leftovers]]:
    """Load the model to train onto its device, with adapters, stop tokens, and trained weights in float32.

    It is built on the CPU, so that the device never holds more than the run needs.

    Args:
        split: whether to store trained float32 weights as two 16-bit halves; None decides by the recipe.

    Returns:
        The model, and the weights that the recipe allows to be missing or left over, by model or adapter.

    Raises:
        UserError: the model cannot be loaded, adapters would be added to randomly initialized weights, the
            device lacks kernels of the kind that the recipe sets, or `model.low_bits: host` has no effect.
    """
    name, dropout = recipe.model.name, recipe.model.dropout
    device = device_called(recipe.model.device)
    dtype, allowed = resolve_dtype(recipe.model.dtype, device), Allowed(tuple(recipe.model.allow_weights))
    refuse_missing_kernels(recipe.model.kernels, device, dtype)
    refuse_host_bits(recipe, kind, "bfloat16" if split else dtype)
    form = base_form(recipe, kind, dtype)
    if kind.head == "score":
        seed = recipe.train.seed
        policy = load_reward_model(name, device="cpu", seed=seed, dropout=dropout, allowed=allowed)
        wire_pad_token(policy, tokenizer)
        mark_reading(policy)
    else:
        saved = "float32" if form == "float32" else "saved"
        policy = load_model(name, saved, "cpu", dropout=dropout, allowed=allowed)
        wire_stop_tokens(policy, tokenizer)
    if recipe.model.lora is not None:
        refuse_random_base(allowed)
        task: lora.PeftTask = "SEQ_CLS" if kind.head == "score" else "CAUSAL_LM"
        policy = attach(policy, recipe.model.lora, recipe.train.seed, task=task)
        base = causal_model(policy)
        compact_frozen(base, form, getattr(torch, dtype), base.get_output_embeddings())
    module = cast(torch.nn.Module, policy).to(device)
    if splits_weights(recipe, kind, dtype) if split is None else split:
        _split_where_possible(module, recipe.model.low_bits == "host")
    return cast("Policy", module), allowed.found


def _split_where_possible(model: torch.nn.Module, low_on_host: bool) -> None:
    """Split the trained weights, if the model allows it.

    If a model needs some weights in float32, all stay in float32, under autocast.

    Raises:
        UserError: the weights stay in float32, but the recipe sets their second halves to be in host memory.
    """
    if obstacle := split_obstacle(model):
        if low_on_host:
            raise UserError(f"model.low_bits: host has no effect, since {obstacle}; leave it out.")
        log.warning("Weights stay in float32, which takes more memory: %s.", obstacle)
    else:
        split_weights(model, low_on_host=low_on_host)


def refuse_random_base(allowed: Allowed) -> None:
    """Raise a `UserError` if base weights under adapters would be initialized at random.

    They would differ at every load of the adapters.
    """
    if allowed.missing:
        raise UserError(
            f"model.lora: {allowed.missing[0]} is missing from the checkpoint and would be drawn at random, "
            "anew at every load of the adapters; set model.lora to null to train and save all weights."
        )


def wants_shards(recipe: Recipe, kind: InputKind, policy: Policy) -> bool:
    """Return whether the weights should be sharded over the processes of this run.

    Raises:
        UserError: the recipe sets sharding, but the weights cannot be sharded.
    """
    parallel = recipe.train.parallel
    if collectives.world() == 1 or parallel == "ddp":
        return False
    obstacle = _obstacle_to_shards(recipe, kind, policy)
    if obstacle is None:
        return parallel == "fsdp" or collectives.from_first(not fits(policy))
    if parallel == "fsdp":
        raise UserError(f"train.parallel: fsdp {obstacle}; set train.parallel=ddp.")
    return False


def _obstacle_to_shards(recipe: Recipe, kind: InputKind, policy: Policy) -> str | None:
    """Return why the weights of this run cannot be sharded; None if they can be.

    The text continues a sentence that begins with `fsdp`.
    """
    if not can_write_parts():
        return f"needs torch 2.9 or newer, and this is {torch.__version__}"
    if recipe.optim.states == "8bit":
        return "cannot be used with optim.states=8bit"
    if kind.head == "score":
        return "cannot train a reward model"
    if length_switches(policy):
        return (
            "cannot train a model that computes long rows in another way (dynamic NTK, LongRoPE, sparse "
            "attention), since processes would run unequal numbers of forwards"
        )
    return None


def held_out_in_words(recipe: Recipe, rows: int, prompts: int) -> str:
    """Return what the run is evaluated on, as text such as `8 held out` or `16 evaluation prompts`.

    Args:
        rows: number of held-out rows.
        prompts: number of prompts that can be answered, from `evaluate.prompts` or from those rows.
    """
    most = max(recipe.evaluate.rewarded if recipe.reward else 0, recipe.evaluate.samples, recipe.check.probes)
    asked = plural(min(prompts, most), "evaluation prompt")
    parts = [asked] if recipe.evaluate.prompts and min(prompts, most) else []
    return " and ".join([*([f"{rows:,} held out"] if rows or not parts else []), *parts])


def describe_policy(
    recipe: Recipe, policy: Policy, data: Prepared, prompts: Sequence[Prompt], console: Console
) -> None:
    """Print the main facts of the run: model, trained parameters, data and steps.

    Args:
        prompts: all prompts that may be answered before and after training.
    """
    print_note_on_base(recipe.model.name, console)
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    total = count_parameters(causal_model(policy))
    steps = batch_plan(recipe, len(data.train.rows)).steps * recipe.rollout.updates
    how = "LoRA adapters" if recipe.model.lora is not None else "all weights"
    beside = ", with 16 more bits beside each weight" if is_split(causal_model(policy)) else ""
    console.print(
        f"{recipe.method_name} on {recipe.model.name}: {how}, "
        f"{trained / 1e6:.2f} of {total / 1e6:.1f} M parameters, "
        f"computed in {resolve_dtype(recipe.model.dtype, policy.device)}{beside} on {policy.device}; "
        f"{len(data.train.rows):,} training rows, "
        f"{held_out_in_words(recipe, len(data.eval.rows), len(prompts))}; "
        f"{plural(steps, 'step')} of {recipe.train.batch}; learning rates sum to "
        f"{learning_rate_sum(steps, recipe.optim):.2e}",
        highlight=False,
    )


def choose_activations(
    recipe: Recipe, policy: Policy, data: Prepared, console: Console, earlier: bool | None = None
) -> bool:
    """Choose whether activations are recomputed, by the recipe or an estimate, and print the choice.

    Args:
        earlier: the choice of the run to resume; None for a new run.

    Returns:
        Whether activations are recomputed.
    """
    limit = forward_tokens(recipe.train, policy.device)
    tokens = activations.largest_forward(recipe, kind_of(recipe), data.train.rows, limit)
    choice = activations.activation_choice(recipe, policy, tokens, earlier)
    console.print(str(choice), highlight=False)
    return choice.recompute


def choose_reuse(
    recipe: Recipe, policy: Policy, data: Prepared, console: Console, recompute: bool, earlier: Choices | None
) -> ReuseChoice | None:
    """Choose by an estimate of memory whether outputs of linear layers are reused after sampling.

    The choice is printed.

    Args:
        recompute: whether activations are recomputed.
        earlier: choices of the run to resume, which are kept; None for a new run.

    Returns:
        The choice; None if nothing can be reused.
    """
    before = None if earlier is None else bool(earlier.reuse)
    choice = reuse_choice(recipe, policy, data.train.rows, recompute=recompute, earlier=before)
    if choice is not None:
        console.print(str(choice), highlight=False)
    return choice
