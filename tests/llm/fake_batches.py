"""The batch half of `FakeServer`: files, batches, and results in no particular order."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

from tests.llm.fake_server import completion

if TYPE_CHECKING:
    from tests.llm.fake_server import FakeServer

Lines = list[dict[str, Any]]


def batch_route(
    server: FakeServer, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    """Status and body."""
    path = path.split("?")[0].removeprefix("/v1/")
    fault = server.batch_fault(f"{method} {path}")
    found = (503, b"") if fault == "before" else _answered(server, method, path, headers, body)
    return (503, _json({"error": {"message": "down for repairs"}})) if fault else found


def _answered(
    server: FakeServer, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    match method, path.split("/"):
        case "POST", ["files"]:
            return 200, _json({"id": _store(server, _uploaded(headers, body)), "object": "file"})
        case "GET", ["files", name, "content"]:
            return 200, server.files[name]
        case "POST", ["batches"]:
            return 200, _json(_create(server, json.loads(body)))
        case "GET", ["batches"]:
            return 200, _json({"object": "list", "data": list(server.batches.values()), "has_more": False})
        case "GET", ["batches", name]:
            return 200, _json(_poll(server, name))
    return 404, _json({"error": {"message": f"no route {method} {path}"}})


def _uploaded(headers: dict[str, str], body: bytes) -> bytes:
    """The file out of a multipart body."""
    boundary = headers["content-type"].split("boundary=")[1].strip('"').encode()
    [part] = [p for p in body.split(b"--" + boundary) if b"filename=" in p]
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


def _store(server: FakeServer, content: bytes) -> str:
    name = f"file-{len(server.files)}"
    server.files[name] = content
    return name


def _create(server: FakeServer, asked: dict[str, Any]) -> dict[str, Any]:
    name = f"batch_{len(server.batches)}"
    server.batches[name] = {
        "id": name,
        "object": "batch",
        "endpoint": asked["endpoint"],
        "completion_window": asked["completion_window"],
        "input_file_id": asked["input_file_id"],
        "metadata": asked["metadata"],
        "status": "validating",
        "created_at": 1,
    }
    return server.batches[name]


def _poll(server: FakeServer, name: str) -> dict[str, Any]:
    """Still at work at the first question, over at the second, unless the server holds batches back."""
    batch = server.batches[name]
    if batch["status"] == "validating" or server.hold_batches:
        batch["status"] = "in_progress"
    elif batch["status"] == "in_progress":
        _finish(server, batch)
    return batch


def _finish(server: FakeServer, batch: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in server.files[batch["input_file_id"]].splitlines()]
    script = server.batch_script or all_good
    good, bad, status = script(server, lines)
    random.Random(0).shuffle(good)
    for result in good:
        server.answered[result["custom_id"]] += 1
    batch["status"] = status
    batch["output_file_id"] = _store(server, server.edit_results(_jsonl(good))) if good else None
    batch["error_file_id"] = _store(server, _jsonl(bad)) if bad else None


def good_line(server: FakeServer, line: dict[str, Any]) -> dict[str, Any]:
    """A result as the output file has it."""
    digest = hashlib.sha256(json.dumps(line["body"], sort_keys=True).encode()).hexdigest()
    body = completion(line["body"], server.answer(line["body"], digest))
    return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def all_good(server: FakeServer, lines: Lines) -> tuple[Lines, Lines, str]:
    """Every request answered."""
    return [good_line(server, line) for line in lines], [], "completed"


def _jsonl(lines: Lines) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
