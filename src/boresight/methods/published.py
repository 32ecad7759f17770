"""Published settings for models up to about 1B parameters, and the learning rates to try first.

A method needs no entry: without one, `boresight check` shows the settings of other methods for the same kind
of data.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published setting. `batch` is the batch size; `beta` is None if the method has none."""

    model: str
    parameters: int
    lr: float
    beta: float | None
    batch: int
    source: str

    def __str__(self) -> str:
        beta = f", beta {self.beta:g}" if self.beta else ""
        return f"{self.model}: lr {self.lr:g}{beta}, batch {self.batch} ({self.source})"


CALIBRATED = "dpo"
"""Method of calibration runs that contain no method name."""
TRY_FIRST = {"preference": "dpo", "demonstration": "sft", "labeled": "kto", "prompt": "grpo"}
"""Default method for each kind of data."""
PUBLISHED: dict[str, tuple[Published, ...]] = {
    "dpo": (
        Published("SmolLM2-135M", 134_500_000, 1e-6, 0.5, 128, "alignment-handbook"),
        Published("SmolLM2-360M", 361_800_000, 1e-6, 0.5, 128, "alignment-handbook"),
        Published("zephyr-220m", 218_000_000, 5e-7, 0.1, 16, "model card"),
        Published("SmolLM2-1.7B", 1_711_000_000, 1e-6, 0.5, 128, "alignment-handbook"),
    ),
    "ipo": (Published("Qwen2.5-0.5B", 494_032_768, 5e-6, 0.1, 64, "CS224R 2026 starter, sum reduction"),),
    "kto": (Published("Qwen2-0.5B", 494_032_768, 1e-6, 0.1, 8, "TRL example, its default settings"),),
    "rloo": (Published("Qwen2.5-0.5B", 494_032_768, 1e-5, 0.001, 128, "CS224R 2026 starter, k = 8"),),
    "sft": (
        Published("SmolLM2-135M", 134_500_000, 1e-3, None, 128, "alignment-handbook config_smol"),
        Published("Qwen2.5-0.5B", 494_032_768, 5e-5, None, 64, "CS224R 2026 starter, Countdown"),
    ),
    "xpo": (Published("Qwen2.5-0.5B", 494_032_768, 5e-7, 0.1, 64, "TRL example, alpha 1e-5"),),
}
"""Published settings by the name of the method."""


@dataclass(frozen=True)
class Ladder:
    """Settings to try, in order. `too_high` is the learning rate at which runs degenerate, according to
    `source`."""

    lrs: tuple[float, ...]
    betas: tuple[float, ...]
    batch: str
    too_high: float
    source: str

    def __str__(self) -> str:
        betas = f" × beta {{{', '.join(f'{b:g}' for b in self.betas)}}}" if self.betas else ""
        return f"lr {{{', '.join(f'{lr:g}' for lr in self.lrs)}}}{betas}, batch {self.batch}"


LADDERS = {
    ("preference", False): Ladder((1e-6, 2e-6, 5e-6), (0.1, 0.5), "64–128", 1e-4, "published runs up to 1B"),
    ("preference", True): Ladder(
        (5e-5, 1e-4, 2e-4), (0.1, 0.5), "32–128", 5e-3, "rates of full training, times ten"
    ),
    ("labeled", False): Ladder((5e-7, 1e-6, 5e-6), (0.05, 0.1), "16–128", 1e-4, "the authors and TRL"),
    ("labeled", True): Ladder(
        (5e-5, 1e-4, 2e-4), (0.05, 0.1), "16–128", 5e-3, "rates of full training, times a hundred"
    ),
    ("demonstration", False): Ladder((3e-5, 1e-4, 3e-4), (), "64–128", 1e-2, "published runs up to 1B"),
    ("demonstration", True): Ladder(
        (1e-4, 2e-4, 5e-4), (), "16–64", 2e-2, "rates of full training, times ten"
    ),
    ("prompt", False): Ladder((1e-6, 5e-6, 1e-5), (0.001, 0.03), "64–128 prompts", 2e-4, "CS224R 2026"),
    ("prompt", True): Ladder(
        (1e-5, 5e-5, 1e-4), (0.001, 0.03), "64–128 prompts", 5e-3, "rates of full training, times ten"
    ),
}
"""Settings to try, by the kind of data and whether adapters are trained."""
