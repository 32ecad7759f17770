"""Inputs and outputs of decoding steps at fixed addresses.

The host loads the inputs, launches up to `MOST_STEPS` steps without waiting, and reads the tokens that these
have sampled. A step finds its random numbers, and the place for its results, by a counter that it increments
itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from boresight.models.kernels.to_device import to_device
from boresight.models.sampler.draw import MaskedSettings
from boresight.models.sampler.params import RunningSample, SamplingParams, record

MOST_STEPS = 16
"""Maximum number of steps between two reads by the host. A row that ends is idle until the next read."""
NO_TOKEN = -1


class StepBuffers:
    """Buffers for up to `rows` rows.

    Args:
        params: settings of all samples that will be loaded.
    """

    def __init__(
        self, rows: int, params: Sequence[SamplingParams], vocabulary: int, device: torch.device
    ) -> None:
        self.vocabulary, self.device = vocabulary, device
        self.any_greedy = any(p.temperature == 0 for p in params)
        self.candidates = candidates(params, vocabulary)
        stops = max((len(p.stop_token_ids) for p in params), default=0)

        def integers(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.long, device=device)

        self.step = integers(1)
        self.tokens, self.lengths, self.left, self.top_k = (integers(rows) for _ in range(4))
        self.stops = integers(rows, stops)
        self.temperature, self.top_p = torch.ones(2, rows, dtype=torch.float64, device=device)
        self.greedy = torch.zeros(rows, dtype=torch.bool, device=device)
        self.uniforms = torch.zeros(MOST_STEPS, rows, dtype=torch.float64, device=device)
        self.drawn = torch.zeros(3, MOST_STEPS, rows, dtype=torch.float64, device=device)

    def settings(self, rows: int) -> MaskedSettings:
        """Return the sampling settings of the first `rows` rows."""
        return MaskedSettings(
            self.temperature[:rows],
            self.top_p[:rows],
            self.top_k[:rows],
            self.greedy[:rows],
            any_greedy=self.any_greedy,
            candidates=self.candidates,
        )

    def load(self, running: Sequence[RunningSample], steps: int) -> None:
        """Load these samples, each of which has at least one token, into the first rows; the other rows are
        idle."""
        rows, stops = self.stops.shape
        lines = np.zeros((7 + stops + MOST_STEPS, rows))
        lines[3:5] = 1  # temperature and top-p
        lines[5] = self.vocabulary  # top-k
        lines[7 : 7 + stops] = NO_TOKEN
        for row, (sample, line) in enumerate(zip(running, lines.T, strict=False)):
            line[:7] = numbers_of(sample, self.vocabulary)
            ends = sample.params.stop_token_ids
            line[7 : 7 + len(ends)] = ends
            coming = sample.uniforms[len(sample.ids) : len(sample.ids) + steps]
            lines[7 + stops : 7 + stops + len(coming), row] = coming
        on_device = to_device(lines, self.device)
        buffers = (
            self.tokens,
            self.lengths,
            self.left,
            self.temperature,
            self.top_p,
            self.top_k,
            self.greedy,
        )
        for buffer, values in zip(buffers, on_device, strict=False):
            buffer.copy_(values)
        self.stops.copy_(on_device[7 : 7 + stops].T)
        self.uniforms.copy_(on_device[7 + stops :])
        self.step.zero_()

    def put(self, tokens: Tensor, logps: Tensor) -> None:
        """Record the tokens and log-probabilities of a step for the first rows, `(n,)` each, and prepare the
        next step.

        A row ends with a stop token, with its last allowed token, or if its log-probability is NaN. Tokens
        that are sampled for it afterwards are marked as not alive, and do not increase its length.
        """
        n = len(tokens)
        left, own = self.left[:n], self.tokens[:n]
        alive = left > 0
        ends = (tokens.unsqueeze(1) == self.stops[:n]).any(1) | logps.isnan()
        drawn = torch.stack([tokens.double(), logps.double(), alive.double()])
        self.drawn[:, :, :n].index_copy_(1, self.step, drawn.unsqueeze(1))
        self.lengths[:n].add_(alive)
        own.copy_(torch.where(alive, tokens, own))
        left.copy_(torch.where(ends, 0, left - 1).clamp(min=0))
        self.step.add_(1)

    def collect(self, running: Sequence[RunningSample], steps: int) -> None:
        """Append the tokens of the last `steps` steps to their samples; waits for the device.

        Raises:
            UserError: the log-probability of a sampled token is NaN.
        """
        for tokens, logps, alive in self.drawn[:, :steps, : len(running)].transpose(0, 1).tolist():
            drew = [row for row, lives in enumerate(alive) if lives]
            record([running[r] for r in drew], [tokens[r] for r in drew], [logps[r] for r in drew])


def numbers_of(sample: RunningSample, vocabulary: int) -> tuple[float, ...]:
    """Return newest token, its position, number of tokens left to sample, temperature, top-p, top-k, and
    whether greedy."""
    params, done = sample.params, len(sample.ids)
    greedy = params.temperature == 0
    return (
        sample.ids[-1],
        len(sample.prompt) + done - 1,
        params.max_new_tokens - done,
        1.0 if greedy else params.temperature,
        params.top_p,
        min(params.top_k or vocabulary, vocabulary),
        greedy,
    )


def candidates(params: Sequence[SamplingParams], vocabulary: int) -> int:
    """Return the number of most likely tokens that include all that `params` allow; 0 if none of them
    truncates."""
    truncated = [p for p in params if p.temperature > 0 and (p.top_p < 1 or 0 < p.top_k < vocabulary)]
    return max((min(p.top_k or vocabulary, vocabulary) for p in truncated), default=0)
