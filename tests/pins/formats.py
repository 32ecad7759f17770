"""Files that another run or program reads: checkpoints, weights, caches, ledgers, claims and outcomes."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boresight.data.rows import Completion, Row
from boresight.llm.request import Request
from boresight.models.reference.cache import reference_fingerprint
from boresight.models.reference.distinct import row_key
from tests.pins import runs
from tests.pins.folders import dotted_keys
from tests.tiny import tiny_model


def observe() -> dict[str, Any]:
    """Formats by what they belong to."""
    return {
        "weights": weights(),
        "checkpoint": checkpoint(),
        "reference cache": reference_cache(),
        "ledger": ledger(),
        "sweep": sweep(),
        "study": study(),
        "fingerprints": fingerprints(),
    }


def weights() -> dict[str, Any]:
    """Tensors of final and exported models."""
    return {
        "all weights": tensors(runs.trained("dpo") / "model" / "model.safetensors"),
        "reward model": tensors(runs.trained("reward") / "model" / "model.safetensors"),
        "LoRA": tensors(runs.trained_with_lora() / "model" / "adapter_model.safetensors"),
        "export, merged": tensors(runs.exported("merged") / "model.safetensors"),
        "export, adapter": tensors(runs.exported("adapter") / "adapter_model.safetensors"),
    }


def checkpoint() -> dict[str, Any]:
    """Files, tensors and state of a checkpoint with LoRA."""
    (folder,) = (runs.trained_with_lora() / "checkpoints").iterdir()
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return {
        "folder": folder.name,
        "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()),
        "state.json": shape_of(state),
        "state.safetensors": tensors(folder / "state.safetensors"),
        "adapter": tensors(folder / "model" / "adapter_model.safetensors"),
    }


def reference_cache() -> dict[str, Any]:
    """Naming and schema of the cache, and the sizes of rows with two completions."""
    (path,) = runs.reference_cache().glob("*.sqlite")
    with closing(sqlite3.connect(path)) as database:
        lengths = "length(key), length(sums), length(checksum)"
        sizes = database.execute(f"SELECT DISTINCT {lengths} FROM checked_logps").fetchall()
        (count,) = database.execute("SELECT count(*) FROM checked_logps").fetchone()
        schema = _schema(database)
    return {
        "file": re.sub(r"^[0-9a-f]{32}", "<32 hex digits>", path.name),
        "schema": schema,
        "bytes of key, value and checksum": [list(found) for found in sizes],
        "rows": count,
    }


def ledger() -> dict[str, Any]:
    """Schema of the ledger, and the keys of the JSON in it by stage."""
    with closing(sqlite3.connect(runs.synthesized() / "ledger.sqlite")) as database:
        kept = database.execute("SELECT stage, request, body FROM responses ORDER BY key").fetchall()
        states = database.execute(
            "SELECT stage, state, count(*) FROM attempts GROUP BY stage, state"
        ).fetchall()
        schema = _schema(database)
    stages = sorted({stage for stage, _, _ in kept})
    return {
        "schema": schema,
        "attempts": sorted(map(list, states)),
        "request": {s: dotted_keys([json.loads(r) for stage, r, _ in kept if stage == s]) for s in stages},
        "body": {s: dotted_keys([json.loads(b) for stage, _, b in kept if stage == s]) for s in stages},
    }


def sweep() -> dict[str, Any]:
    """Claims and outcomes of trials."""
    trials = runs.swept() / "trials"
    return {
        "trials": sorted(p.name for p in trials.iterdir()),
        "claim": _shape_in(trials / "00-seed0" / "claim-1"),
        "outcome": _shape_in(trials / "00-seed0" / "outcome.json"),
    }


def study() -> dict[str, Any]:
    """Outcomes, times and checks of arms."""
    arm = runs.studied() / "slow-seed0"
    return {name: _shape_in(arm / name) for name in ("outcome.json", "spent.json", "check.json")}


def fingerprints() -> dict[str, str]:
    """Names under which results are found again; another one makes what was kept useless.

    The weights hashed here are exact binary fractions, so no arithmetic can round them otherwise.
    """
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            numbers = torch.arange(parameter.numel()) % 7 - 3
            parameter.copy_((numbers / 8).view_as(parameter))
    completion = Completion(np.array([7, 8, 9], np.int32), np.array([True, True, False]))
    row = Row("row-0", np.array([3, 4, 5], np.int32), (completion, completion))
    asked = Request(
        "http://127.0.0.1:1/v1",
        "m",
        [{"role": "user", "content": "Say red."}],
        {"max_tokens": 32, "temperature": 0.5},
        stage="answers",
    )
    return {"reference": reference_fingerprint(model), "row": row_key(row).hex(), "request": asked.key}


def tensors(path: Path) -> dict[str, Any]:
    """Type and shape of each tensor, and what else stands in the header of a safetensors file."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = header.pop("__metadata__", {})
    found = {name: " ".join(map(str, [t["dtype"], *t["shape"]])) for name, t in sorted(header.items())}
    return {"metadata": metadata, "tensors": found}


def shape_of(value: Any) -> Any:
    """Nested keys with the JSON type of each value; of a list, its first item."""
    if isinstance(value, dict):
        return {key: shape_of(below) for key, below in sorted(value.items())}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return type(value).__name__


def _shape_in(path: Path) -> Any:
    return shape_of(json.loads(path.read_text(encoding="utf-8")))


def _schema(database: sqlite3.Connection) -> list[str]:
    statements = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return [" ".join(sql.split()) for (sql,) in statements]
