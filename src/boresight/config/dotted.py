"""Access nested dictionaries by dotted keys, such as `optim.lr`: apply overrides, flatten, compare.

`read_value` parses values of the command line, and `as_yaml` formats a dictionary as YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from boresight.config.synonyms import EARLIER_NAMES
from boresight.config.yaml_text import read_yaml
from boresight.core.errors import UserError


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Apply `section.key=value`; the value is read by `read_value`. Raises `UserError` for other forms."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r}: overrides are written section.key=value, for instance optim.lr=2e-6.")
    if key != key.strip():
        plain = f"{key.strip()}={value.strip()}"
        raise UserError(f"command line: {override!r} has a space beside its key; write {plain}.")
    try:
        put(raw, key, read_value(value))
    except UserError as error:
        raise UserError(f"command line: {error}") from None


def refuse_repeated(overrides: Sequence[str]) -> None:
    """Raise a `UserError` if an override replaces an earlier one, such as `optim.lr` given twice."""
    keys: list[str] = []
    for override in overrides:
        key = _key(override)
        if key in keys:
            raise UserError(f"command line: {key} is given twice; keep one of them.")
        if below := next((earlier for earlier in keys if earlier.startswith(f"{key}.")), None):
            raise UserError(f"command line: {key} replaces {below} before it; keep one of them.")
        keys.append(key)


def names_an_override(field: str, sentence: str, overrides: Sequence[str]) -> bool:
    """Whether an override sets a wrong `field`, or a section that contains it.

    For a conflict between several settings, `field` is "" or their section, and `sentence` names them.
    """
    keys = [_key(override) for override in overrides]
    if any(f"{field}.".startswith(f"{key}.") for key in keys):
        return True
    return any((not field or key.startswith(f"{field}.")) and key in sentence for key in keys)


def added_sections(overrides: Sequence[str], file: Mapping[str, Any]) -> set[str]:
    """Return the sections that overrides add to the content of a file.

    For `optm.lr=1` and `model.lora.r=8`, these may be `optm` and `model.lora`.
    """
    sections = set()
    for override in overrides:
        at: object = file
        parts = _key(override).split(".")
        for n, part in enumerate(parts[:-1], 1):
            at = at.get(part) if isinstance(at, Mapping) else None
            if at is None:
                sections.add(".".join(parts[:n]))
    return sections


def remove_excluded(
    raw: dict[str, Any], given: Mapping[str, Any], pairs: Sequence[tuple[str, str]]
) -> list[str]:
    """Remove settings of a file that cannot be combined with a change.

    If the changes contain both keys of a pair, nothing is removed; the recipe refuses them later.

    Args:
        raw: the file as nested dictionaries; changed in place.
        given: the changes, values by dotted key.
        pairs: pairs of dotted keys of which a recipe sets at most one.

    Returns:
        A line for each removed setting, such as `train.steps=4 replaces train.epochs=2`.
    """
    lines = []
    for pair in pairs:
        for wanted, other in (pair, pair[::-1]):
            section, _, name = other.partition(".")
            settings = raw.get(section)
            if not isinstance(settings, dict) or settings.get(name) is None or other in given:
                continue
            if given.get(wanted) is not None:
                lines.append(f"{wanted}={given[wanted]} replaces {other}={settings.pop(name)}")
    return lines


def override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of `section.key=value` overrides by dotted key, under the current names of keys."""
    return {_key(override): read_value(override.partition("=")[2]) for override in overrides}


def _key(override: str) -> str:
    """Return the dotted key of an override, under its current name."""
    key = override.partition("=")[0]
    return EARLIER_NAMES.get(key, key)


def read_value(text: str) -> Any:
    """Parse a value of the command line as YAML; return the text itself if it is not YAML.

    Paths that contain YAML syntax are texts as well: `[v2]/p.jsonl`, `#1/p.jsonl`, `100% pairs: new.jsonl`.
    """
    try:
        value = read_yaml(text, "value")
    except UserError:
        return text
    comment = value is None and text.lstrip().startswith("#")
    braces = text.lstrip().startswith("{")
    keys = value if isinstance(value, dict) and not braces else {}
    named = all(part.isidentifier() for key in keys for part in str(key).split("."))
    return text if comment or not named else value


def put(raw: dict[str, Any], key: str, value: object) -> None:
    """Set `section.key` in nested dictionaries. Raises `UserError` if a parent is no section."""
    *parents, last = EARLIER_NAMES.get(key, key).split(".")
    at = raw
    for parent in parents:
        if at.get(parent) is None:
            at[parent] = {}
        at = at[parent]
        if not isinstance(at, dict):
            raise UserError(f"{key}: {parent} is a value, not a section.")
    at[last] = value


def flat(
    tree: Mapping[Any, Any], prefix: str = "", is_value: Callable[[Mapping[Any, Any]], bool] = lambda _: False
) -> dict[str, Any]:
    """Flatten nested mappings to dotted keys: `{"optim": {"lr": 1e-4}}` becomes `{"optim.lr": 1e-4}`.

    Mappings for which `is_value` returns True are not flattened. Other empty mappings are omitted.
    """
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and not is_value(value):
            found |= flat(value, f"{prefix}{name}.", is_value)
        else:
            found[f"{prefix}{name}"] = value
    return found


def differences(*trees: Mapping[Any, Any], absent: object = None) -> dict[str, list[Any]]:
    """Return the dotted keys whose values differ, each with the list of its values, one per tree.

    The value in a tree without the key is `absent`.
    """
    flattened = [flat(tree) for tree in trees]
    keys = dict.fromkeys(key for tree in flattened for key in tree)
    values = {key: [tree.get(key, absent) for tree in flattened] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found[1:])}


def as_yaml(tree: Mapping[str, Any]) -> str:
    """Format nested mappings as YAML, with keys in their order."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True)
