"""Compare the weights of a model with its checkpoint, and refuse differences that the recipe does not allow.

transformers initializes a weight at random if the checkpoint does not contain it, and discards one that the
model does not have, both with only a warning. Training would then start from a different model than the saved
one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from boresight.core.errors import UserError
from boresight.core.wording import is_or_are

SHOWN = 3
"""Maximum number of weight names in a message."""
STRAY = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "base_model.model.", "_forward_module.")
"""Prefixes that torch.compile, DistributedDataParallel, FSDP, PEFT and DeepSpeed add to all names of
weights."""
QUANTIZED = (
    *(
        "weight_scale",
        "weight_scale_inv",
        "weight_packed",
        "input_scale",
    ),  # compressed-tensors, ModelOpt, fp8
    *("qweight", "qzeros", "scales", "g_idx"),  # GPTQ, AWQ
    *("absmax", "quant_map", "SCB", "weight_format"),  # bitsandbytes
)
"""Last parts of the names of tensors that only quantized models have."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Sorted names of weights in which a model and its checkpoint differ.

    Attributes:
        missing: weights that the checkpoint does not contain.
        unexpected: weights that the model does not have.
        mismatched: weights of different shapes, as `(name, shape in the checkpoint, shape in the model)`.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.mismatched)

    @classmethod
    def of_report(cls, report: Mapping[str, Collection[Any]]) -> Leftovers:
        """Build from transformers' loading info (`output_loading_info=True`)."""
        mismatched = ((name, tuple(a), tuple(b)) for name, a, b in report["mismatched_keys"])
        return cls(
            tuple(sorted(report["missing_keys"])),
            tuple(sorted(report["unexpected_keys"])),
            tuple(sorted(mismatched)),
        )

    def without(self, missing: Collection[str], unexpected: Collection[str]) -> Leftovers:
        """Return the differences without the given missing and unexpected names."""
        return replace(
            self,
            missing=tuple(name for name in self.missing if name not in missing),
            unexpected=tuple(name for name in self.unexpected if name not in unexpected),
        )

    def matching(self, patterns: Sequence[str]) -> Leftovers:
        """Return the missing and unexpected weights whose names match a shell pattern such as
        `vision_tower.*`."""

        def named(names: Sequence[str]) -> tuple[str, ...]:
            return tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns))

        return Leftovers(named(self.missing), named(self.unexpected))


@dataclass(slots=True)
class Allowed:
    """Shell patterns of weights that may be missing or unexpected.

    `found` contains the accepted differences that occurred, by name of the model or adapter.
    """

    patterns: tuple[str, ...] = ()
    found: dict[str, Leftovers] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Names of accepted weights that were missing and so were initialized at random."""
        return [name for leftovers in self.found.values() for name in leftovers.missing]


def refuse(leftovers: Leftovers, name: str, kind: str, allowed: Allowed, remedy: str | None = None) -> None:
    """Raise a `UserError` for differences that `allowed` does not accept; record accepted ones in
    `allowed.found`.

    Args:
        name: name of the model or adapter as given by the user.
        kind: class name of the model.
        remedy: end of the message, which states what to do; None derives it from the names.

    Raises:
        UserError: weights are missing, unexpected or of another shape; another shape is never accepted.
    """
    accepted = leftovers.matching(allowed.patterns)
    rest = leftovers.without(accepted.missing, accepted.unexpected)
    if rest:
        remedy = remedy or _remedy(rest, kind)
        raise UserError(f"model: the weights of {name!r} do not fit its {kind}: {_counts(rest)}; {remedy}.")
    if accepted:
        allowed.found[name] = accepted


def _counts(rest: Leftovers) -> str:
    shapes = [f"{n} {_shape(saved)} for {_shape(own)}" for n, saved, own in rest.mismatched]
    parts = [
        _part(rest.missing, "missing from the checkpoint"),
        _part(rest.unexpected, "unknown to the model"),
        _part(shapes, "of another shape"),
    ]
    return ", ".join(part for part in parts if part)


def _part(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    listed = ", ".join(names[:SHOWN])
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names):,} {is_or_are(len(names))} {what} ({listed}{more})"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _remedy(rest: Leftovers, kind: str) -> str:
    """Return the end of an error message: the cause, if it can be recognized, and what to do."""
    prefix = next(
        (p for p in STRAY if rest.unexpected and all(n.startswith(p) for n in rest.unexpected)), None
    )
    if prefix:
        return f"every name starts with {prefix!r}, from a wrapped model: save the model inside the wrapper"
    if any(name.rsplit(".", 1)[-1] in QUANTIZED for name in rest.unexpected):
        return (
            "these weights are quantized, though the config does not say so, and cannot be trained: take the "
            "model that they were made from"
        )
    if any(0 in saved for _, saved, _ in rest.mismatched):
        return (
            "tensors of size 0 come from a save under DeepSpeed ZeRO-3 in one process: put the weights "
            "together with its zero_to_fp32.py and save again"
        )
    if rest.mismatched:
        return "the config and the weights are of different models: take both from one place"
    if any(n.startswith(("score.", "classifier.")) for n in rest.unexpected) and "CausalLM" in kind:
        return (
            "this is a reward model or another classifier: give a language model, or accept the names with "
            "allow_weights"
        )
    return "take a complete checkpoint of this architecture, or accept the names with allow_weights"
