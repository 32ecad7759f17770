"""Identify the pairs that a run trains on: by the name of a hub data set, or by the digest of a file.

Two runs train on the same pairs if their sources share a name. Other similarities of data are not considered.
"""

from __future__ import annotations

from collections.abc import Mapping

from boresight.data.demo import data_path, split_name
from boresight.data.reading.files import is_hub_id, sha256


def pair_sources(data: str | Mapping[str, float], columns: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the names of the source of `data.train`.

    It has one name: a hub id without its split, or `sha256:` and a file's digest. The set is empty if the
    source is not known: a missing file, a folder, or several sources. It is also empty with `data.columns`,
    since other columns of the same file can be other pairs.
    """
    if not isinstance(data, str) or columns is not None:
        return frozenset()
    path = data_path(data)
    if path.is_file():
        return frozenset({digest_name(sha256(path))})
    name, _ = split_name(data)
    return frozenset({name}) if is_hub_id(name) and not path.exists() else frozenset()


def digest_name(digest: str) -> str:
    """Return the name under which `pair_sources` lists a file with this SHA-256 digest."""
    return f"sha256:{digest}"
