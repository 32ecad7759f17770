"""`boresight chat`: chat with a run's model in the terminal, and compare its start model's answers.

    /before   let the start model answer the last question, given the same conversation
    /reset    forget the conversation
    /help     these lines
    /quit     leave; so does the end of the input

Ctrl-C stops an answer and keeps its beginning; at the prompt it exits.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.console import HARMLESS
from boresight.core.errors import UserError, naming
from boresight.core.schema import Message
from boresight.core.wording import cut_at_tokens

if TYPE_CHECKING:
    from boresight.data.tokenizer import Tokenizer
    from boresight.models.policy import Policy

HELP = "\n".join(line.strip() for line in (__doc__ or "").split("\n")[2:6])


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a chat: how answers are sampled, the system message, and the device."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    system: str | None = None
    device: str | None = None


class Talker:
    """Answers with a run's model or with its start model.

    The start model is the run's model with its adapter switched off; without an adapter, it is loaded when it
    is first needed.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        from boresight.models.head import head_of
        from boresight.models.source import recipe_of_run, refuse_missing_model, refuse_unknown_device

        with naming("RUN", "model"), naming("--device", "device"):
            refuse_unknown_device(settings.device)
            refuse_missing_model(name)
        recipe = recipe_of_run(Path(name))
        if any(head_of(folder) == "score" for folder in (Path(name) / "model", Path(name))):
            raise UserError(f"{name}: a reward model gives scores, not words; there is nothing to chat with.")
        self.settings = settings
        self.start_name: str | None = (recipe.get("model") or {}).get("name")
        from boresight.models.sampler.generate import load_chat_model  # slow, so after the checks

        with naming("RUN", "model"), naming("--device", "device"):
            self.model, self.tokenizer = load_chat_model(name, device=settings.device, merge=False)
        self._start: Policy | None = None

    def answer(self, turns: Sequence[Message], say: Callable[[str], None]) -> str:
        """Return the answer of the run's model; `say` is called with each new piece of the text."""
        return self._answer(self.model, turns, say)

    def answer_before(self, turns: Sequence[Message], say: Callable[[str], None]) -> str:
        """Return the start model's answer to a conversation, sampled with the same random numbers.

        Raises:
            UserError: the folder does not record the model it was trained from.
        """
        model, without = self._start_model()
        with without:
            return self._answer(model, turns, say)

    def _start_model(self) -> tuple[Policy, AbstractContextManager[None]]:
        from boresight.models.load import load_model
        from boresight.models.lora import adapters_off, has_adapters

        if self.start_name is None:
            raise UserError("/before: this folder has no config.yaml, so its start model is not known.")
        if has_adapters(self.model):
            return self.model, adapters_off(self.model)
        if self._start is None:
            self._start = load_model(self.start_name, device=self.settings.device)
        return self._start, nullcontext()

    def _answer(self, model: Policy, turns: Sequence[Message], say: Callable[[str], None]) -> str:
        from boresight.data.chat import encode_prompt
        from boresight.models.sampler.generate import stopping_at_turns
        from boresight.models.sampler.params import SamplingParams
        from boresight.models.sampler.stream import stream

        text = Unrolled(self.tokenizer, say)
        params = SamplingParams(
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            seed=self.settings.seed + len(turns),
        )
        prompt, params = encode_prompt(self.tokenizer, turns), stopping_at_turns(self.model, params)
        ended = ""
        try:
            if stream(model, prompt, params, text.hear).finish == "length":
                ended = f" [{cut_at_tokens(params.max_new_tokens)}, the limit of --max-new-tokens]"
        except KeyboardInterrupt:
            ended = " …"
        text.finish()
        say(ended)
        return text.said


@dataclass(slots=True)
class Unrolled:
    """Decodes tokens as they are generated and prints their text.

    A character that consists of several tokens is printed once it is complete.
    """

    tokenizer: Tokenizer
    say: Callable[[str], None]
    said: str = ""
    _ids: list[int] = field(default_factory=list)

    def hear(self, ids: Sequence[int]) -> None:
        """Print the text of new tokens; `ids` are all token ids of the answer so far."""
        self._ids = list(ids)
        text = self.tokenizer.decode(self._ids, skip_special_tokens=True)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._up_to(text)

    def finish(self) -> None:
        """Print the remaining characters."""
        self._up_to(self.tokenizer.decode(self._ids, skip_special_tokens=True))

    def _up_to(self, text: str) -> None:
        if len(text) > len(self.said):
            self.say(text[len(self.said) :])
            self.said = text


class Conversation:
    """The turns of a conversation; `line` processes each line that the user types."""

    def __init__(self, talker: Talker, out: Callable[[str], None], system: str | None = None) -> None:
        self.talker, self.out = talker, out
        self._opening: list[Message] = [Message(role="system", content=system)] if system else []
        self.turns = list(self._opening)
        self.commands = {"/before": self._before, "/reset": self._reset, "/help": self._help}

    def line(self, text: str) -> bool:
        """Process one line that the user typed; returns False if it ends the conversation."""
        if not text:
            return True
        if text in ("/quit", "/exit"):
            return False
        if text.startswith("/"):
            self.commands.get(text, lambda: self._unknown(text))()
            return True
        self.turns.append(Message(role="user", content=text))
        try:
            said = self.talker.answer(self.turns, self.out)
        except UserError as error:
            if not any(turn["role"] == "assistant" for turn in self.turns):
                raise
            self.turns.pop()  # a template may refuse earlier turns, and /reset removes them
            self.out(f"{error} /reset starts anew.\n")
            return True
        self.turns.append(Message(role="assistant", content=said))
        self.out("\n")
        return True

    def _before(self) -> None:
        last = max((i for i, turn in enumerate(self.turns) if turn["role"] == "user"), default=None)
        if last is None:
            return self.out("Send a message first; /before then sends it to the start model.\n")
        try:
            self.out("[before] ")
            self.talker.answer_before(self.turns[: last + 1], self.out)
            self.out("\n")
        except UserError as error:
            self.out(f"{error}\n")

    def _reset(self) -> None:
        self.turns = list(self._opening)
        self.out("The conversation is forgotten.\n")

    def _help(self) -> None:
        self.out(f"{HELP}\n")

    def _unknown(self, text: str) -> None:
        from boresight.core.did_you_mean import nearest

        self.out(f"{text}: no such command{nearest(text, self.commands)}; /help lists them.\n")


def chat(name: str, settings: Settings) -> None:
    """Chat until the input ends. The prompt is printed only on a terminal, so that input may be piped."""
    from boresight.models.source import note_on_base

    watched = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):  # in place of bytes that are not text
        sys.stdin.reconfigure(errors="replace")
    talker = Talker(name, settings)
    talk = Conversation(talker, _out, settings.system)
    if note := note_on_base(name):
        sys.stderr.write(f"{note.translate(HARMLESS)}\n")
    if watched:
        import readline  # noqa: F401  (gives input() its line editing)

        _out(f"{name}. /before sends it to the start model, /help lists all commands.\n")
    try:
        while talk.line(input("> " if watched else "").strip()):
            pass
    except EOFError:
        pass
    except KeyboardInterrupt:
        _out("\n")


def _out(text: str) -> None:
    sys.stdout.write(text.translate(HARMLESS))
    sys.stdout.flush()
