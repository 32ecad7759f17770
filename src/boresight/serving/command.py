"""`boresight serve`: serve a model on this machine; `vllm_command` has the command for vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from boresight.core.errors import UserError, naming
from boresight.serving.loopback import check_port

if TYPE_CHECKING:
    from boresight.serving.endpoint import ChatServer


def serve_here(run: Path, port: int, max_new_tokens: int, device: str | None, console: Console) -> None:
    """Serve the model of a run or a model folder on loopback until Ctrl-C.

    Raises:
        UserError: the port or the device cannot be used, there is no such model, or it is a reward model.
    """
    from boresight.models.head import head_of
    from boresight.models.source import print_note_on_base, refuse_missing_model, refuse_unknown_device

    check_port(port)
    with naming("RUN", "model"), naming("--device", "device"):
        refuse_unknown_device(device)
        refuse_missing_model(str(run))
    if any(head_of(folder) == "score" for folder in (run / "model", run)):
        raise UserError(f"{run}: a reward model gives scores and no answers; there is nothing to serve.")
    from boresight.models.sampler.generate import load_chat_model  # slow; imported after the checks
    from boresight.serving.endpoint import ChatServer

    with naming("RUN", "model"), naming("--device", "device"):
        model, tokenizer = load_chat_model(str(run), device=device)
    print_note_on_base(str(run), console)
    with ChatServer(model, tokenizer, run.resolve().name, port, max_new_tokens) as server:
        console.print(example(server), markup=False, highlight=False)
        console.print("Press Ctrl-C to end.", highlight=False)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Ended.", highlight=False)


def example(server: ChatServer) -> str:
    """Return the text to print at the start: address, token, and an example request."""
    return (
        f"Serving {server.name} on {server.address}/v1 for this machine alone, API key {server.token}\n"
        f"curl {server.address}/v1/chat/completions -H 'Authorization: Bearer {server.token}' \\\n"
        '  -d \'{"messages": [{"role": "user", "content": "What is a tide?"}], "temperature": 0}\''
    )
