"""What the configs of the installed TRL have: every option with its types and its default.

.venv-bench/bin/python -m tests.parity.trl_fields     # writes src/boresight/conversion/trl_fields.json
"""

from __future__ import annotations

import dataclasses
import json
import os
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

FILE = Path(__file__).parents[2] / "src/boresight/conversion/trl_fields.json"
PLAIN = {bool: "bool", int: "int", float: "float", str: "str", list: "list", tuple: "list", dict: "dict"}


def configs() -> dict[str, list[type]]:
    """The classes whose options the config file of each trainer may hold."""
    import trl
    from trl.experimental import cpo, online_dpo, orpo
    from trl.scripts.grpo import GRPOScriptArguments
    from trl.scripts.rloo import RLOOScriptArguments

    plain = {
        "sft": trl.SFTConfig,
        "reward": trl.RewardConfig,
        "dpo": trl.DPOConfig,
        "kto": trl.KTOConfig,
        "orpo": orpo.ORPOConfig,
        "cpo": cpo.CPOConfig,
        "online_dpo": online_dpo.OnlineDPOConfig,
    }
    rest: list[type] = [trl.ModelConfig, trl.DatasetMixtureConfig]
    return {name: [trl.ScriptArguments, *rest, config] for name, config in plain.items()} | {
        "rloo": [RLOOScriptArguments, *rest, trl.RLOOConfig],
        "grpo": [GRPOScriptArguments, *rest, trl.GRPOConfig],
    }


def types(annotation: Any) -> set[str]:
    """`{"float", "null"}` for `float | None`."""
    if annotation is type(None):
        return {"null"}
    plain = get_origin(annotation) or annotation
    if plain in PLAIN:
        return {PLAIN[plain]}
    parts = [types(part) for part in get_args(annotation)]
    return set().union(*parts) if parts else {"str"}  # an enumeration, or a class that a file cannot hold


def default(field: dataclasses.Field) -> Any:
    """The default as JSON."""
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return value.value if isinstance(value, Enum) else value


def fields(classes: list[type]) -> dict[str, list[Any]]:
    """Types and default of every option."""
    return {
        field.name: ["|".join(sorted(types(field.type))), default(field)]
        for config in classes
        for field in dataclasses.fields(config)
    }


def installed() -> dict[str, Any]:
    """What the file should hold: options that all trainers share once, then those of each."""
    import transformers
    import trl

    found = {name: fields(classes) for name, classes in configs().items()}
    first, *others = found.values()
    common = {key: value for key, value in first.items() if all(o.get(key) == value for o in others)}
    own = {
        name: {key: value for key, value in options.items() if key not in common}
        for name, options in found.items()
    }
    return {
        "trl": trl.__version__,
        "transformers": transformers.__version__,
        "common": common,
        "trainers": own,
    }


def as_text(found: dict[str, Any]) -> str:
    """JSON with one option per line."""
    text = json.dumps(found, indent=1)
    lines: list[str] = []
    for line in text.split("\n"):
        inside = lines and lines[-1].count("[") > lines[-1].count("]")
        if inside:
            lines[-1] += line.strip() + (" " if line.rstrip().endswith(",") else "")
        else:
            lines.append(line)
    return "\n".join(line.rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(installed()), encoding="utf-8")
