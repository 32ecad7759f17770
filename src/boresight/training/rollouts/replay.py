"""Keep pairs of earlier iterations for methods that replay them, and store them in checkpoints.

    replay.draw(step, 64)     # earlier pairs for a step of 64 prompts
    replay.add(step, rows)    # the pairs that the step has sampled

The draw depends on the seed, the step and the earlier additions, so a resumed run draws the same pairs as an
uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from boresight.data.rows import Completion, Row

MOST = 16_384
"""Maximum number of pairs in memory. If more are added, each has the same chance to be kept (reservoir
sampling)."""
DRAW, KEEP = 0, 1
"""Purposes of the random numbers of a step."""


class Replay:
    """Pairs of earlier iterations, in memory.

    Args:
        per_prompt: number of earlier pairs per prompt of a step.
        seed: seed of the run.
        most: maximum number of pairs in memory.
    """

    def __init__(self, per_prompt: float, seed: int, most: int = MOST) -> None:
        self.per_prompt, self.seed, self.most = per_prompt, seed, most
        self.rows: list[Row] = []
        self.seen = 0
        """Number of pairs that were added so far, kept or not."""

    def draw(self, step: int, prompts: int) -> list[Row]:
        """Return distinct earlier pairs for a step of `prompts` prompts; all pairs if there are too few."""
        count = min(round(self.per_prompt * prompts), len(self.rows))
        chosen = self._generator(step, DRAW).permutation(len(self.rows))[:count]
        return [self.rows[place] for place in sorted(chosen.tolist())]

    def add(self, step: int, rows: Sequence[Row]) -> None:
        """Add the pairs of `step`; only tokens, loss masks, scores and origin of the answers are kept."""
        generator = self._generator(step, KEEP)
        for row in rows:
            self.seen += 1
            kept = _tokens_of(row)
            if len(self.rows) < self.most:
                self.rows.append(kept)
            elif (place := int(generator.integers(self.seen))) < self.most:
                self.rows[place] = kept

    def tensors(self) -> dict[str, Tensor]:
        """Return all pairs as tensors for a checkpoint: concatenated tokens, and the lengths of the parts."""
        answers = [completion for row in self.rows for completion in row.completions]
        ids = [row.id.encode("utf-8", "surrogatepass") for row in self.rows]
        return {
            "seen": torch.tensor([self.seen]),
            "id": torch.tensor([*b"".join(ids)], dtype=torch.uint8),
            "id_length": _lengths(ids),
            "prompt": _joined([row.prompt for row in self.rows], np.int32),
            "prompt_length": _lengths([row.prompt for row in self.rows]),
            "answer": _joined([answer.ids for answer in answers], np.int32),
            "scored": _joined([answer.mask for answer in answers], np.bool_),
            "answer_length": _lengths([answer.ids for answer in answers]),
            "score": torch.tensor([row.scores for row in self.rows], dtype=torch.float64).view(-1, 2),
            "from_reference": torch.tensor([row.from_reference for row in self.rows]).bool().view(-1, 2),
        }

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Restore the pairs from the result of `tensors`."""
        self.seen = int(kept["seen"])
        ids = _parts(kept["id"], kept["id_length"])
        prompts = _parts(kept["prompt"], kept["prompt_length"])
        tokens, scored = (_parts(kept[name], kept["answer_length"]) for name in ("answer", "scored"))
        answers = list(map(Completion, tokens, scored))
        self.rows = [
            Row(
                id.tobytes().decode("utf-8", "surrogatepass"),
                prompt,
                (answers[2 * number], answers[2 * number + 1]),
                scores=tuple(kept["score"][number].tolist()),
                from_reference=tuple(kept["from_reference"][number].tolist()),
            )
            for number, (id, prompt) in enumerate(zip(ids, prompts, strict=True))
        ]

    def _generator(self, step: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, step, purpose))


def _tokens_of(row: Row) -> Row:
    """Return the row without the values that only its own step uses."""
    answers = tuple(Completion(answer.ids, answer.mask) for answer in row.completions)
    return Row(row.id, row.prompt, answers, scores=row.scores, from_reference=row.from_reference)


def _joined(parts: Sequence[np.ndarray], dtype: type) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype))


def _lengths(parts: Sequence[np.ndarray | bytes]) -> Tensor:
    return torch.tensor([len(part) for part in parts], dtype=torch.int64)


def _parts(joined: Tensor, lengths: Tensor) -> list[np.ndarray]:
    return [part.numpy() for part in joined.split(lengths.tolist())]
