"""Reuse outputs of linear layers that sampling computed, in the forward of the first update.

If this process samples on a CPU in float32, sampling and the update use the same weights, so the outputs are
the same up to the order of summation. Only groups reuse outputs: most sampled pairs are ties, which are not
trained on, and storing the outputs of all of them takes about as long as the products that are saved
(`docs/log.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from boresight.config.recipe import Recipe
from boresight.data.rows import Row
from boresight.models.packed.plan import PackedPlan, find_plan_now
from boresight.models.policy import Policy, causal_model
from boresight.models.precision import resolve_dtype
from boresight.models.reuse.check import compare_with_products
from boresight.models.reuse.linears import reusable_linears
from boresight.models.reuse.store import LinearOutputs
from boresight.models.sampler.attention import unsupported
from boresight.training import initial_loss
from boresight.training.activations import SPARE, footprint_of, largest_forward
from boresight.training.distributed import collectives
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.forward import kind_of
from boresight.training.memory import available_gb

NARROWEST = 512
"""Minimum hidden size for which outputs are reused.

One output takes `2 * width` operations to compute, and about 2 ns to write and read. A processor of 230
GFLOP/s computes an output of width 128 in 1.1 ns, and of width 576 in 5 ns.
"""
LARGEST_DIFFERENCE = 0.01
"""Maximum difference between a stored and a recomputed output, as a share of the layer's largest output.

It is larger than rounding errors, and smaller than the difference to the output of another token.
"""


@dataclass(frozen=True, slots=True)
class ReuseChoice:
    """Whether outputs are reused, with the estimates behind the choice.

    `tokens` is the maximum number of tokens whose outputs are stored, `gb` the memory that these take, and
    `free_gb` the free memory, in GB.
    """

    reuse: bool
    tokens: int
    gb: float
    free_gb: float

    def __str__(self) -> str:
        """Return the choice as one sentence for the terminal."""
        what = "reuses" if self.reuse else "does not reuse"
        return (
            f"The first update on a rollout {what} the outputs of linear layers that sampling computed: "
            f"up to {self.gb:.1f} GB; {self.free_gb:.1f} GB are free."
        )


def reuse_choice(
    recipe: Recipe, policy: Policy, prompts: Sequence[Row], *, recompute: bool, earlier: bool | None = None
) -> ReuseChoice | None:
    """Choose by an estimate of memory whether outputs are reused; None if nothing can be reused.

    Args:
        prompts: prompts of the training set.
        recompute: whether activations are recomputed; outputs cannot be stored then.
        earlier: choice of the run before it was interrupted; None for a new run.
    """
    if recompute or not _is_possible(recipe, policy):
        return None
    longest = max((len(row.prompt) for row in prompts), default=0)  # a batch may have one prompt twice
    tokens = recipe.train.batch * (longest + recipe.rollout.k * (recipe.rollout.max_new_tokens - 1))
    gb = tokens * output_bytes(policy) / 1e9
    limit = forward_tokens(recipe.train, policy.device)
    footprint = footprint_of(recipe, policy)
    forward = largest_forward(recipe, kind_of(recipe), prompts, limit)
    beside = footprint.frozen_gb + footprint.state_gb + footprint.activations_gb(forward, recompute=False)
    free = available_gb(policy.device)
    fits = math.isfinite(free) and gb + beside <= SPARE * free
    return ReuseChoice(fits if earlier is None else earlier, tokens, gb, free)


def _is_possible(recipe: Recipe, policy: Policy) -> bool:
    own = kind_of(recipe).samples == "group" and recipe.rollout.backend == "local"
    exact = policy.device.type == "cpu" and resolve_dtype(recipe.model.dtype, policy.device) == "float32"
    base = causal_model(policy)
    wide = base.config.get_text_config().hidden_size >= NARROWEST
    if not (own and exact and wide and collectives.world() == 1 and reusable_linears(base)):
        return False
    return unsupported(base) is None and isinstance(find_plan_now(policy), PackedPlan)


def output_bytes(policy: Policy) -> int:
    """Return the bytes per token of the outputs of all linear layers that can be reused."""
    layers: list[Any] = reusable_linears(causal_model(policy))
    return sum(int(layer.out_features) for layer in layers) * policy.dtype.itemsize


def fault_of(
    policy: Policy, outputs: LinearOutputs, rows: Sequence[Row], step: int, temperature: float
) -> str | None:
    """Return the reason why `outputs` cannot be reused for `rows`; None if they can.

    The check recomputes one completion, a different one in each step.

    Raises:
        UserError: the recomputed log-probability of the completion differs from that with which it was
            sampled.
    """
    row = rows[step % len(rows)]
    one = replace(row, completions=(row.completions[step % len(row.completions)],))
    found = compare_with_products(policy, outputs, one, temperature)
    if found is None:
        return "sampling kept no outputs of linear layers for these completions and weights"
    off, sums, length = found
    drawn = torch.tensor([[c.sampled_logp for c in one.completions]], dtype=sums.dtype)
    initial_loss.check_sampler(sums, drawn, length, noise=0.0, step=step)
    if off <= LARGEST_DIFFERENCE:
        return None
    return f"the outputs of linear layers that sampling kept are off by {off:.2g} of the largest"
