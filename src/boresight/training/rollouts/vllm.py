"""Sample rollouts from a `vllm serve`; the adapter is loaded before every rollout, under a new name.

With a new name each time no request can use older weights, and the server's prefix cache, which is keyed by
adapter, contains no stale entries.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boresight.config.recipe import Recipe, RolloutSection
from boresight.core.errors import UserError
from boresight.core.files import expanded
from boresight.llm.vllm import VllmServer
from boresight.models import lora
from boresight.models.policy import Policy
from boresight.models.sampler.sample import Sample, SamplingParams
from boresight.training.distributed import collectives
from boresight.training.rollouts.sampling import rollout_params


class VllmRollouts:
    """Samplers of the policy and of its reference, both on one server.

    Raises:
        UserError: the recipe trains all weights, there are several processes, or the server does not answer.
    """

    def __init__(self, policy: Policy, recipe: Recipe, stop_token_ids: tuple[int, ...]) -> None:
        if not lora.has_adapters(policy):
            raise UserError(
                "rollout.backend: vllm takes adapters; set model.lora, or sample with backend local."
            )
        if collectives.world() > 1:
            raise UserError(
                "rollout.backend: vllm serves one training process; use backend local with several."
            )
        self.policy, self.settings, self.seed = policy, recipe.rollout, recipe.train.seed
        self.stop_token_ids = stop_token_ids
        self.server = VllmServer(recipe.rollout.base_url or "", os.environ.get(recipe.rollout.key_env))
        self.base = self.server.base_model()
        self._folder = shared_folder(recipe.rollout)
        self._run = secrets.token_hex(4)  # a resumed run must not reuse its earlier names
        self._count = 0
        self._name: str | None = None
        is_ours = recipe.rollout.shared_folder is None
        weakref.finalize(self, _remove_adapters, self._folder, self._run, is_ours)

    def sample(self, prompts: Sequence[np.ndarray], k: int, number: int) -> list[list[Sample]]:
        """Sample from the policy in its current state; a `Sampler`."""
        return self.server.sample(self._load_adapter(), prompts, self._params(number), k)

    def sample_reference(self, prompts: Sequence[np.ndarray], k: int, number: int) -> list[list[Sample]]:
        """Sample from the model without adapters; a `Sampler`."""
        return self.server.sample(self.base, prompts, self._params(number), k)

    def _load_adapter(self) -> str:
        """Load the current adapter into the server, unload the previous one, and return the new name."""
        self._count += 1
        name = f"{_prefix(self._run)}{self._count}"
        folder = self._folder / name
        lora.save(self.policy, folder)
        self.server.load_adapter(name, folder)
        if self._name:
            self.server.unload_adapter(self._name)
            shutil.rmtree(self._folder / self._name, ignore_errors=True)
        self._name = name
        return name

    def _params(self, number: int) -> SamplingParams:
        return rollout_params(self.settings, self.stop_token_ids, self.seed, number)


def _prefix(run: str) -> str:
    """Return the prefix of the names of a run's adapters."""
    return f"boresight-{run}-"


def _remove_adapters(folder: Path, run: str, is_ours: bool) -> None:
    """Delete the adapters of a run that has ended, and their folder if it was created for them only."""
    for adapter in folder.glob(f"{_prefix(run)}*"):
        shutil.rmtree(adapter, ignore_errors=True)
    if is_ours:
        shutil.rmtree(folder, ignore_errors=True)


def shared_folder(settings: RolloutSection) -> Path:
    """Return the absolute path of the server's folder of adapters, created if it is missing."""
    if settings.shared_folder is None:
        folder = Path(tempfile.mkdtemp(prefix="boresight-adapters-"))
        folder.chmod(0o755)  # the server may be another user
        return folder
    folder = expanded(settings.shared_folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
