"""Reward model behind an OpenAI-compatible endpoint that replies `reward:<float>`.

Llama-3.1-Nemotron-70B-Reward is such a model: the conversation is sent with the answer as its last, assistant
turn, and the text of the reply is the reward. Its rewards are comparable only for answers to the same prompt.
They have few distinct values, so exact ties are common; a tie counts one half.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from boresight.config.secrets import Address, KeyVariable
from boresight.core.schema import Message, Prompt
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request
from boresight.scorers.judges.base import Score, Scorer
from boresight.scorers.judges.endpoint import STAGE, Completer, EndpointConfig, why

REWARD = re.compile(r"\s*reward:\s*(?P<value>[-+]?\d+(\.\d+)?(e[-+]?\d+)?)\s*", re.IGNORECASE)


LONGEST_REPLY = 64
"""Maximum reply length (`max_tokens`); `reward:-12.34567` needs about ten tokens."""


class Config(EndpointConfig):
    """Settings of the endpoint."""

    endpoint: Address = "https://integrate.api.nvidia.com/v1"
    """Base URL, usually ending in /v1."""
    model: str = "nvidia/llama-3.1-nemotron-70b-reward"
    """Name of the model there."""
    key_env: KeyVariable = "NVIDIA_API_KEY"
    """Environment variable that holds the key."""


def build(config: Config, completer: Completer, console: object = None) -> RewardEndpoint:
    """Build a judge that sends its requests through `completer`."""
    return RewardEndpoint(config, completer)


class RewardEndpoint(Scorer):
    """Scorer that reads rewards from the replies of an endpoint."""

    def __init__(self, config: Config, completer: Completer) -> None:
        super().__init__()
        self.name = f"reward endpoint {config.model}"
        self.config, self.completer = config, completer

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """Send one request per answer and return the scores; a reply without a reward is a failure."""
        requests = [
            self._request([*p.prompt, Message(role="assistant", content=text)], repeat)
            for p, text in zip(prompts, answers, strict=True)
        ]
        return [read_reward(reply) for reply in self.completer.complete(requests, _problem)]

    def _request(self, messages: list[Message], repeat: int) -> Request:
        params = {"max_tokens": LONGEST_REPLY}
        return Request(self.config.endpoint, self.config.model, messages, params, sample=repeat, stage=STAGE)


def _problem(reply: Reply) -> str | None:
    """Return why a reply contains no reward; None if it contains one."""
    return read_reward(reply).failure or None


def read_reward(reply: Reply) -> Score:
    """Return the number after `reward:`, if the reply contains nothing else; otherwise a failure."""
    # Some servers report any reward as cut at max_tokens; a text with fewer characters cannot be.
    is_whole = reply.failure == "truncated" and len(reply.text) < LONGEST_REPLY
    if reply.failure and not is_whole:
        return Score(None, failure=why(reply))
    found = REWARD.fullmatch(reply.text)
    if found is None:
        return Score(None, failure=f"not a reward: {reply.text[:80]!r}")
    return Score(float(found["value"]))
