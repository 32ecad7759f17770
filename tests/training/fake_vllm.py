"""A real HTTP server on loopback that speaks what we use of vLLM's protocol, around a tiny torch model.

    with FakeVllm(folder_of_base) as server:
        ... rollout.base_url=server.url ...

Adapters are read from disk when they are loaded, as vLLM does, so what it says comes from the weights that
were pushed. Faults are planted by its attributes.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from boresight.models.load import load_model
from boresight.models.sampler.sample import SamplingParams, sample

BASE = "base"


class FakeVllm:
    """Runs in threads of its own from `__enter__` to `__exit__`."""

    def __init__(self, folder: Path, *, key: str | None = None) -> None:
        self.folder, self.key = folder, key
        self.models: dict[str, Any] = {BASE: load_model(str(folder))}
        self.asked: list[dict[str, Any]] = []
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.deaf = False
        """Takes adapters and answers from the base model."""
        self.raw_logprobs = False
        """Log-probabilities before the temperature, vLLM's default."""
        self.failures = 0
        """So many completions are answered 500 first."""
        self.without_ids = False
        self.context: int | None = None
        """Most tokens of a prompt and its completion; vLLM refuses requests for more."""
        self.stop_ids: tuple[int, ...] | None = None
        """Stops here, whatever is asked: a generation config of its own."""
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(server.get)

            def do_POST(self) -> None:
                self._answer(server.post)

            def _answer(self, act: Any) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
                    status, value = 401, {"error": "Unauthorized"}
                else:
                    with server._lock:
                        status, value = act(self.path, body)
                text = (value if isinstance(value, str) else json.dumps(value)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> FakeVllm:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def get(self, path: str, body: Any) -> tuple[int, Any]:
        if path != "/v1/models":
            return 404, {"error": path}
        # Adapters first: whoever takes the first of the list takes a wrong one.
        names = sorted(self.models, key=lambda name: name == BASE)
        more = {} if self.context is None else {"max_model_len": self.context}
        return 200, {"data": [{"id": n, "parent": None if n == BASE else BASE} | more for n in names]}

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        acts = {
            "/v1/completions": self._complete,
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
        }
        return acts[path](body) if path in acts else (404, {"error": path})

    def _load(self, body: dict[str, Any]) -> tuple[int, Any]:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.models:
            return 400, {"error": f"The lora adapter '{name}' has already been loaded."}
        if not (folder / "adapter_config.json").is_file():
            return 404, {"error": f"No adapter found for '{name}'."}
        self.models[name] = self.models[BASE] if self.deaf else load_model(str(folder))
        self.loaded.append(name)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _unload(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.models.pop(body["lora_name"], None) is None:
            return 404, {"error": "no such adapter"}
        self.unloaded.append(body["lora_name"])
        return 200, f"Success: LoRA adapter '{body['lora_name']}' removed successfully."

    def _complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(body)
        if self.failures:
            self.failures -= 1
            return 500, {"error": "the engine has died"}
        if self.context is not None and len(body["prompt"]) + body["max_tokens"] > self.context:
            return 400, {"error": f"This model's maximum context length is {self.context} tokens."}
        if body["model"] not in self.models:
            return 404, {"error": f"The model `{body['model']}` does not exist."}
        params = SamplingParams(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            seed=body["seed"],
            stop_token_ids=self.stop_ids or tuple(body["stop_token_ids"]),
        )
        model, prompt = self.models[body["model"]], np.array(body["prompt"], np.int32)
        (drawn,) = sample(model, [prompt], params, body["n"])
        return 200, {"choices": [self._choice(i, model, prompt, s) for i, s in enumerate(drawn)]}

    def _choice(self, index: int, model: Any, prompt: np.ndarray, drawn: Any) -> dict[str, Any]:
        logps = drawn.logps.tolist()
        if self.raw_logprobs:
            logps = at_temperature_one(model, prompt, drawn.ids)
        choice = {"index": index, "finish_reason": drawn.finish, "logprobs": {"token_logprobs": logps}}
        return choice if self.without_ids else {**choice, "token_ids": drawn.ids.tolist()}


def at_temperature_one(model: Any, prompt: np.ndarray, ids: np.ndarray) -> list[float]:
    import torch

    with torch.inference_mode():
        logits = model(torch.from_numpy(np.concatenate([prompt, ids]))[None].long()).logits[0]
    logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return logps[torch.arange(len(ids)), torch.from_numpy(ids).long()].tolist()
