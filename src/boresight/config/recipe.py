"""The recipe of a training run: every section, with its fields, defaults and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from boresight import methods
from boresight.config.base import BaseRecipe
from boresight.config.guard import GuardSection
from boresight.config.lora import LoraConfig
from boresight.config.refusals.without_effect import settings_without_effect
from boresight.config.reward import RewardList
from boresight.config.secrets import Address, KeyVariable
from boresight.config.section import Section, non_default_settings
from boresight.core.errors import UserError
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import (
    GroupLogps,
    OnlinePairLogps,
    PairScores,
    PolicyPairLogps,
    SequenceLogps,
)

SAMPLED = (GroupLogps, OnlinePairLogps)
"""Input classes of methods that learn from answers they sample."""
UNCOMPARED = (SequenceLogps, PolicyPairLogps, PairScores)
"""Input classes that contain no log-probabilities of a reference model or of the sampler."""


class ModelSection(Section):
    """The model to train, its precision, and its adapters."""

    name: str = "starter"
    """`starter` (the embedded SmolLM2-135M-Instruct), `countdown-tiny`, a local folder or a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the forward pass; trained weights are float32 in any case (with `kernels: fast`, stored
    as two halves of 16 bits). `auto` is bfloat16 on GPUs that have it (Ampere and later), float16 with
    loss scaling on older ones with tensor cores (T4, V100), and float32 elsewhere."""
    kernels: Literal["proven", "fast"] = "proven"
    """Kernels on a GPU: `proven` is FlexAttention over a block mask, and launches each operation of the head
    and of sampling; `fast` attends by two calls of flash attention without a mask, joined by their
    log-sum-exp, compiles the rest of a layer, computes the head in three passes over a tile, and samples
    rollouts by CUDA graphs. It differs by rounding. `fast` needs CUDA, bfloat16 or float16, and a model that
    flash attention and the graphs serve; anything else is refused. Its speed has not been measured."""
    low_bits: Literal["device", "host"] = "device"
    """Where `kernels: fast` in bfloat16 stores the second halves of trained weights: beside the first ones,
    or in host memory, which saves 2 bytes per weight on the GPU and copies them there and back at every step.
    The values are the same. `host` is refused where weights are not split."""
    chat_template: str | None = None
    """`chatml`, `plain` or a Jinja file, for tokenizers that have no chat template; for those that have
    several, the name of one."""
    allow_weights: list[str] = []
    """Weights that may be missing from the checkpoint (they are drawn at random) or unknown to the model
    (they are ignored), by shell patterns of their names such as `vision_tower.*`; others stop the run."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Rate of the model's own dropout layers; null keeps the rates of its config. The default is 0 for
    methods that compare the policy with a reference or its own samples: dropout would shift the ratio."""
    lora: LoraConfig | None = None
    """Train low-rank adapters (`lora: {}` takes the default settings); null trains all weights."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`, or `mps` (the GPU of a Mac: experimental, in the padded layout); null takes a
    CUDA device when there is one."""


def _one_or_several(value: object) -> str:
    return "mixture" if isinstance(value, Mapping) else "one_source"


Mixture = Annotated[
    dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1), Tag("mixture")
]
Source = Annotated[Annotated[str, Tag("one_source")] | Mixture, Discriminator(_one_or_several)]
"""One source of rows by name, or several with their shares."""


class DataSection(Section):
    """Training and held-out data."""

    train: Source
    """A file (JSONL, JSON, Parquet, CSV, TSV, optionally .gz), a saved `datasets` folder or a hub id; for the
    last two `name@split` chooses a split other than `train`. Several of them with their shares of the
    training rows: `{a.jsonl: 0.7, b.jsonl: 0.3}`."""
    eval: str | None = None
    """Held-out data in the same form; null holds out `eval_rows` of the training data."""
    eval_rows: int = Field(default=200, ge=0)
    """Rows held out for evaluation, at most a fifth of the training data when they are split from it."""
    eval_half: Literal["selection", "confirmation"] | None = None
    """Measure on one half of the held-out prompts only. Halves never share a prompt and depend on nothing
    but its text: a sweep chooses a setting by one and confirms it on the other."""
    split_seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Seeds the held-out split and the draw of rows; null takes `train.seed`. Set it to repeat a run with
    other seeds on the same rows."""
    layout: str | None = None
    """Name of the layout, where detection finds two that fit."""
    columns: Annotated[dict[str, str], Field(min_length=1)] | None = None
    """Columns with other names than a layout reads, each after the name of the layout:
    `{prompt: question, chosen: good, rejected: bad}`. For every source of `train` and for `eval`."""
    score: Literal["all", "last"] = "all"
    """Assistant turns to learn where the data give a turn no weight: all of them, or the last one of each
    conversation (of a pair: of each answer)."""
    system: Literal["keep", "fold", "drop"] = "keep"
    """System turns, for chat templates that refuse them: keep them, fold each into the user's turn that
    follows it, or drop them. Both are counted."""
    bad_rows: Literal["error", "drop"] = "error"
    """Handling of a malformed row: stop with its row number, or drop and count it."""
    weight: str | None = None
    """Column with a weight above 0 for every training row: a row of weight 2 counts as two in the mean of its
    batch. Held-out rows have equal weights."""
    limit: int | None = Field(default=None, gt=0)
    """Use at most this many training rows, drawn with the seed."""
    max_length: int = Field(default=1024, gt=1)
    """Longest prompt plus longest completion, in tokens."""
    truncation: Literal["drop", "cut", "error"] = "drop"
    """Rows longer than `max_length`: drop them, cut the end of the completion (and with it the end-of-turn
    token), or stop. Every case is counted and printed."""

    @property
    def sources(self) -> dict[str, float]:
        """Share of the training rows by source; the shares sum to 1."""
        if isinstance(self.train, str):
            return {self.train: 1.0}
        total = math.fsum(self.train.values())
        return {name: share / total for name, share in self.train.items()}

    @property
    def all_sources(self) -> list[str]:
        """Names of all sources of training and held-out rows."""
        return [*self.sources, *([self.eval] if self.eval else [])]


Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay of a moment of Adam."""


class OptimSection(Section):
    """AdamW and its schedule."""

    lr: Annotated[float, Field(gt=0, le=100)] | Literal["auto"]
    """Peak learning rate; `auto` measures a learning-rate ramp first and takes a rate that it found
    harmless."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after warm-up; cosine and linear end at zero."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the rate rises linearly."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay; not applied to biases and norms."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    states: Literal["float32", "8bit"] = "float32"
    """Storage of the two moments: 8 bytes per trained weight, or 2 with `8bit` (needs
    `boresight[bitsandbytes]`), which rounds them in blocks of 256. """
    clip: float | None = Field(default=1.0, gt=0)
    """Largest gradient norm; the norm before clipping is logged. Null: no clipping."""

    @property
    def peak(self) -> float:
        """Peak learning rate. Raises `UserError` if `lr` is `auto`, before a ramp has chosen the rate."""
        if self.lr == "auto":
            raise UserError(
                "optim.lr: auto is set by a ramp, in `boresight train` or `boresight check --probe`; give "
                "a number here."
            )
        return self.lr


class RolloutSection(Section):
    """Answers sampled during training, for the methods that learn from their own (rloo, grpo, xpo)."""

    k: int = Field(default=8, gt=1, le=10**6)
    """Samples per prompt and step (rloo, grpo)."""
    max_new_tokens: int = Field(default=128, gt=0)
    """Maximum length of a sampled answer, in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; log-probabilities are taken at the same one."""
    updates: int = Field(default=1, gt=0)
    """Optimizer steps per rollout (rloo, grpo). More than one is off-policy; set `method.clip` with it."""
    backend: Literal["local", "vllm"] = "local"
    """Sampler: this process (`local`), or a `vllm serve` that receives the adapters before every rollout."""
    base_url: Address | None = None
    """Address of the `vllm serve`, such as `http://127.0.0.1:8000`."""
    key_env: KeyVariable = "VLLM_API_KEY"
    """Environment variable with the server's key, if the server requires one."""
    shared_folder: str | None = None
    """Folder that both this process and the server can read, for adapters; null takes a temporary one."""
    importance_cap: float = Field(default=2.0, ge=1)
    """Upper limit of a completion's importance weight, policy over server."""
    importance_bound: float = Field(default=0.1, gt=0)
    """Mean |log policy - log server| per token, nats, above which the run stops: rounding is smaller."""

    @model_validator(mode="after")
    def _server_and_address(self) -> RolloutSection:
        if (self.backend == "vllm") != (self.base_url is not None):
            raise ValueError("rollout.backend: vllm and rollout.base_url go together; set both or neither")
        return self


class TrainSection(Section):
    """Length of training, batches, evaluations and checkpoints."""

    batch: int = Field(default=32, gt=0, le=10**6)
    """Rows (pairs, demonstrations, prompts) per optimizer step."""
    epochs: float | None = Field(default=None, gt=0, le=10**6)
    """Passes over the training rows; one when neither this nor `steps` is given."""
    steps: int | None = Field(default=None, gt=0, le=10**8)
    """Optimizer steps, instead of epochs; rollouts, if `rollout.updates` takes several steps on each."""
    tokens_per_forward: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    """Micro-batches are filled up to this many tokens. It changes memory and speed, never the result.
    `auto` is 1024 on a CPU and 4096 elsewhere."""
    activations: Literal["auto", "keep", "recompute"] = "auto"
    """`keep` them for the backward, or `recompute` them there: a third more computation, a fraction of the
    memory, the same result (activation checkpointing). `auto` keeps what is estimated to fit."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes (torchrun): `ddp` keeps the whole model in each, `fsdp` shards its weights
    over them, `auto` shards a model that does not fit. Without effect for one process."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds the held-out split, the order of rows, adapter initialization and dropout."""
    trackers: list[Literal["wandb", "tensorboard", "trackio"]] = []
    """Where metrics are logged besides the run folder; each needs the extra of the same name."""
    eval_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations on held-out rows; null makes eight to fifteen, at most one per step. With
    `rollout.updates` they come at the end of a rollout."""
    save_every: int | None = Field(default=None, gt=0)
    """Steps between checkpoints; null writes one every five minutes, or 50 times what one takes if that is
    longer, and removes them when the run is finished."""
    keep: int = Field(default=2, gt=0)
    """How many of the newest checkpoints are kept."""
    keep_best: Literal["loss", "nll_per_token", "accuracy", "margin", "reward"] | None = None
    """Held-out metric by which the best checkpoint is kept besides the newest ones; it is saved when it is
    measured."""
    guard: GuardSection | None = GuardSection()
    """Stop the run if it moves too far from its start model, and keep the last model within the bounds;
    null: never stop."""


class EvaluateSection(Section):
    """Measurements before and after training, besides the loss on held-out rows."""

    prompts: str | None = None
    """Prompts to answer side by side; null takes them from the held-out rows."""
    rewarded: int = Field(default=200, ge=0)
    """Number of prompts that are answered greedily and scored by `reward` at every evaluation."""
    samples: int = Field(default=16, ge=0)
    """How many prompts the start model and the trained model both answer."""
    max_new_tokens: int = Field(default=96, gt=0)
    """Maximum answer length, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0 is greedy decoding."""
    kl_rows: int = Field(default=16, ge=0)
    """Held-out rows on which the exact KL to the reference is measured."""


class CheckSection(Section):
    """Findings that do not stop the run, and settings of the monitor."""

    allow: list[str] = []
    """Names of findings that do not stop the run although they are errors, such as `labels-noisy`."""
    stop: bool = False
    """End the run early, keeping its weights, when the monitor finds an error."""
    probes: int = Field(default=32, ge=0)
    """Number of held-out prompts answered at every evaluation, to check whether answers still end; 0 for
    none."""
    like: str | None = None
    """Name of pairs that yours are similar to, such as `UltraFeedback`, `HH-RLHF harmless`, `demo`, or your
    own by `scripts/calibrate.py`. Where no run on your pairs was measured, there is no forecast; the margins
    that the same budget yielded on those pairs are then printed, or without this setting those on all
    pairs."""


def _is_chosen(method: MethodConfig, name: str) -> bool:
    """Whether a method has a setting of this name and its value is not the default."""
    field = type(method).model_fields.get(name)
    return field is not None and getattr(method, name) != field.default


class Recipe(BaseRecipe):
    """The recipe of one training run."""

    CHOICES = {"method": methods}
    EITHER = (("train.steps", "train.epochs"),)

    method: SerializeAsAny[MethodConfig]
    """`name`, and that method's own settings."""
    model: ModelSection = ModelSection()
    data: DataSection
    optim: OptimSection
    reward: RewardList = []
    """Rewards, each with `function` (or `judge`) and `weight`: what methods that sample learn from, and what
    any other method is measured by on held-out prompts. A name alone is a function, as in `reward=length`."""
    rollout: RolloutSection = RolloutSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    check: CheckSection = CheckSection()

    @model_validator(mode="after")
    def _options_must_act(self) -> Recipe:
        if self.train.steps and self.train.epochs:
            raise ValueError(
                "train.steps and train.epochs are both set; keep one: train.epochs=null or train.steps=null "
                "removes the other"
            )
        kind = methods.get(self.method_name).Input
        if self.data.weight and issubclass(kind, SAMPLED):
            raise ValueError("data.weight has no effect where answers are sampled; remove it")
        chosen = [name for name in ("clip", "clip_high") if _is_chosen(self.method, name)]
        if chosen and issubclass(kind, GroupLogps) and self.rollout.updates == 1:
            raise ValueError(
                f"method.{chosen[0]} has no effect with one update per rollout; set rollout.updates or "
                "remove it"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_dropout_of_the_method(cls, raw: Any) -> Any:
        """Fill in a rate of 0 for dropout that the recipe does not set, if the method needs it."""
        method = raw.get("method") if isinstance(raw, dict) else None
        model = raw.get("model", {}) if isinstance(raw, dict) else None
        if not isinstance(method, MethodConfig) or not isinstance(model, dict):
            return raw
        kind, filled = methods.get(methods.name_of(method)).Input, dict(model)
        if not issubclass(kind, UNCOMPARED):
            filled.setdefault("dropout", 0.0)
        if issubclass(kind, SAMPLED) and isinstance(model.get("lora"), dict):
            filled["lora"] = {"dropout": 0.0, **model["lora"]}
        return {**raw, "model": filled}

    def without_effect(self) -> dict[str, str]:
        """Return changed settings of evaluations and rollouts that have no effect, each with the reason."""
        kind = methods.get(self.method_name).Input
        sampled: Literal["group", "pair"] = "group" if issubclass(kind, GroupLogps) else "pair"
        samples = sampled if issubclass(kind, SAMPLED) else None
        changed = {
            f"{section}.{name}": value
            for section in ("data", "rollout", "train", "evaluate", "check")
            for name, value in non_default_settings(getattr(self, section)).items()
        }
        return settings_without_effect(changed, self.method_name, samples)

    @property
    def method_name(self) -> str:
        """Name of the method, as in `method.name`."""
        return methods.name_of(self.method)

    @property
    def split_seed(self) -> int:
        """Seed of the held-out split and of the draw of rows."""
        return self.train.seed if self.data.split_seed is None else self.data.split_seed
