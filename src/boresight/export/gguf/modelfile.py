"""Write an Ollama Modelfile: the GGUF file's name, the chat template as a Go template, and the stop tokens.

Ollama does not run the Jinja template in a GGUF file; its own templates are Go templates. The text around the
content of each role is therefore found by rendering probe conversations with the Jinja template. A Go
template is written only if it reproduces the text that the Jinja template renders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.tokenizer import Tokenizer
from boresight.export.gguf.vocabulary import opening_bos

ROLES = ("system", "user", "assistant")
WORDS = {"system": "Answer in verse.", "user": "What is a tide?", "assistant": "The sea, twice a day."}
"""Contents of the probe messages; no template contains them."""
NO_TEMPLATE = (
    "the chat template is not one that Ollama's language can repeat, so Modelfile has no TEMPLATE: Ollama "
    "takes the one of its own that is nearest; llama.cpp uses the template in the file."
)


@dataclass(frozen=True, slots=True)
class Turns:
    """The markers of a chat template.

    Attributes:
        before: text before the content of each role.
        after: text after the content of each role.
        ask: text that opens the turn of the answer to generate.
        system: default system message; None if there is none.
    """

    before: dict[str, str]
    after: dict[str, str]
    ask: str
    system: str | None

    def render(self, messages: Sequence[Message], *, ask: bool) -> str:
        """Return the text that the Go template renders for `messages`, without BOS.

        Args:
            ask: whether to open the turn of the answer to generate.
        """
        given = self.system is None or (bool(messages) and messages[0]["role"] == "system")
        default: list[Message] = [] if given else [{"role": "system", "content": str(self.system)}]
        turns = (
            f"{self.before[m['role']]}{m['content']}{self.after[m['role']]}" for m in (*default, *messages)
        )
        return "".join(turns) + (self.ask if ask else "")


def render_modelfile(file: str, turns: Turns | None, stops: Sequence[str]) -> str:
    """Return the text of a Modelfile for the GGUF file `file`, which must be in the same folder.

    Args:
        turns: markers of the chat template; None writes no TEMPLATE.
        stops: stop tokens as text.

    Raises:
        UserError: a stop token cannot be quoted in a Modelfile.
    """
    for stop in stops:
        if not stop.isprintable() or '"' in stop:
            raise UserError(f"--gguf: the stop token {stop!r} cannot be written into a Modelfile.")
    parts = [
        "# Make a model of Ollama: ollama create NAME -f Modelfile. For another of the files change FROM.",
        f"FROM ./{file}",
    ]
    if turns is not None:
        parts.append(f"TEMPLATE {_quoted(_go_template(turns))}")
        if turns.system is not None:
            parts.append(f"SYSTEM {_quoted(turns.system)}")
    parts += [f'PARAMETER stop "{stop}"' for stop in stops]
    return "\n".join(parts) + "\n"


def find_turns(tokenizer: Tokenizer) -> Turns | None:
    """Return the markers of the tokenizer's chat template; None if markers cannot express the template."""
    try:
        turns = _derived(tokenizer)
        if turns is None or any(_written(tokenizer, p, a) != turns.render(p, ask=a) for p, a in _probes()):
            return None
    except TemplateRefusal:
        return None
    texts = (*turns.before.values(), *turns.after.values(), turns.ask, turns.system or "")
    quotable = not any("{{" in text or '"""' in text or text.endswith('"') for text in texts)
    return turns if quotable else None


def _derived(tokenizer: Tokenizer) -> Turns | None:
    """Derive the markers from the text between the contents in rendered probe conversations."""

    def between(*roles: str, ask: bool = False) -> list[str]:
        text, parts = _written(tokenizer, _conversation(*roles), ask), []
        for role in roles:
            head, _, text = text.partition(WORDS[role])
            parts.append(head)
        return [*parts, text]

    after = {"user": between("user")[-1], "assistant": between("user", "assistant")[-1]}
    start, system_user, user_assistant, assistant_user, asked = between(*ROLES, "user", ask=True)
    before = {"system": start, "user": assistant_user.removeprefix(after["assistant"])}
    before["assistant"] = user_assistant.removeprefix(after["user"])
    after["system"] = system_user.removesuffix(before["user"])
    opening = between("user")[0].removesuffix(before["user"])
    default = opening.removeprefix(before["system"]).removesuffix(after["system"]) if opening else None
    if default == "":
        return None
    return Turns(before, after, asked.removeprefix(after["user"]), default)


def _written(tokenizer: Tokenizer, messages: Sequence[Message], ask: bool) -> str:
    return render_messages(tokenizer, messages, ask=ask).removeprefix(opening_bos(tokenizer))


def _conversation(*roles: str) -> list[Message]:
    return [{"role": role, "content": WORDS[role]} for role in roles]


def _probes() -> Iterator[tuple[list[Message], bool]]:
    for roles in (["user"], ["user", "assistant", "user"], [*ROLES, "user", "assistant", "user"]):
        for ask in (False, True):
            yield _conversation(*roles), ask
    yield _conversation("user", "assistant"), False


def _go_template(turns: Turns) -> str:
    """Return the Go template. It trims no whitespace, so that every character is rendered as written."""
    branches = [
        f'{{{{ {"if" if i == 0 else "else if"} eq .Role "{role}" }}}}'
        f"{turns.before[role]}{{{{ .Content }}}}{turns.after[role]}"
        for i, role in enumerate(ROLES)
    ]
    return f"{{{{ range .Messages }}}}{''.join(branches)}{{{{ end }}}}{{{{ end }}}}{turns.ask}"


def _quoted(text: str) -> str:
    return f'"""{text}"""'
