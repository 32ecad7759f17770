"""Cache the findings about data, keyed by a digest of everything that they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import expanded, read_state, write_state
from boresight.data.demo import data_path
from boresight.data.reading.files import sha256
from boresight.data.stored.pruning import CacheBound, mark_used, prune
from boresight.findings.finding import Finding, from_dict
from boresight.scorers.reward_function import BUILTIN

NOT_LOOKED_AT = ("optim", "check", "evaluate")
"""Sections of a recipe that the cache key ignores, since findings about data and tokens do not depend on
them. The content of the file `evaluate.prompts` is part of the key nevertheless."""
BOUND = CacheBound(bytes=50 * 10**6, days=90)
"""Maximum size and age of the cache; the size suffices for some thousands of recipes."""


@dataclass(frozen=True)
class Looked:
    """Findings about data and tokens, and the counts that other checks need.

    `rows` is the number of training rows, `sampled` the number of examples that were tokenized for the
    checks, `answer_tokens` and `row_tokens` are mean lengths in tokens; None where unknown. `labels` holds
    the number of good and the number of bad answers of labeled data.
    """

    findings: list[Finding] = field(default_factory=list)
    rows: int | None = None
    sampled: int = 0
    answer_tokens: float | None = None
    row_tokens: float | None = None
    labels: Sequence[int] | None = None


def key(recipe: Recipe) -> str | None:
    """Return the cache key of a recipe's findings, or None if they must not be cached.

    The key is a digest of the recipe, the bytes of its data, prompts, tokenizer and template files, and the
    code of these checks. Findings are not cached if the data are not in local files, or if a reward may
    change while the recipe stays the same: a user's function, or a model.
    """
    data, asked = local_files(recipe), [data_path(recipe.evaluate.prompts)] if recipe.evaluate.prompts else []
    here = data and all(file.is_file() for file in asked)
    if not here or not all(reward.function in BUILTIN for reward in recipe.reward):
        return None
    looked_at = {name: part for name, part in recipe.to_dict().items() if name not in NOT_LOOKED_AT}
    digest = hashlib.sha256(json.dumps(looked_at, sort_keys=True).encode())
    own = sorted(Path(__file__).parent.rglob("*.py"))
    for file in [*data, *asked, *own, *_tokenizer_files(recipe)]:
        digest.update(sha256(file).encode())
    return digest.hexdigest()


def local_files(recipe: Recipe) -> list[Path]:
    """Return the paths of all data files; empty if any source is not a local file."""
    files = [data_path(name) for name in recipe.data.all_sources]
    return files if all(file.is_file() for file in files) else []


def read_cached(key: str) -> Looked | None:
    """Return the findings cached under `key`; None if there are none or the file cannot be read."""
    mark_used(_file(key))
    try:
        raw = read_state(_file(key))
        return Looked([from_dict(found) for found in raw.pop("findings")], **raw)
    except (UserError, KeyError, TypeError):
        return None


def write_cached(key: str, looked: Looked) -> None:
    """Write `looked` to the cache under `key`, and delete entries that have not been used for long.

    Does nothing if the cache folder cannot be written.
    """
    kept = {name: value for name, value in vars(looked).items() if name != "findings"}
    kept["findings"] = [finding.as_dict() for finding in looked.findings]
    file = _file(key)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_state(file, kept)
        prune(file.parent, file, BOUND)


def _tokenizer_files(recipe: Recipe) -> list[Path]:
    folder = expanded(recipe.model.name)
    template = expanded(recipe.model.chat_template or "")
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    places = (folder, folder / "model")
    found = [place / name for place in places for name in names]
    named = [file for place in places for file in sorted(place.glob("additional_chat_templates/*.jinja"))]
    return [file for file in [*found, *named, template] if file.is_file()]


def _file(key: str) -> Path:
    from boresight.core.files import cache_folder

    return cache_folder() / "check" / f"{key}.json"
