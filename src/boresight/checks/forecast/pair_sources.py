"""Whether two runs have trained on the same pairs: by the name of a hub data set, or by a file's bytes.

Other similarities of data are not considered.
"""

from __future__ import annotations

from collections.abc import Mapping

from boresight.data.demo import data_path, split_name
from boresight.data.reading.files import is_hub_id, sha256


def pair_sources(data: str | Mapping[str, float], columns: Mapping[str, str] | None = None) -> frozenset[str]:
    """Names of the source of `data.train`: a hub id without its split, or `sha256:` and a file's digest.

    Empty where it is unknown: a file that is not there, a folder, or several sources. Empty with
    `data.columns` too, by which the same file may hold other pairs.
    """
    if not isinstance(data, str) or columns is not None:
        return frozenset()
    path = data_path(data)
    if path.is_file():
        return frozenset({digest_name(sha256(path))})
    name, _ = split_name(data)
    return frozenset({name}) if is_hub_id(name) and not path.exists() else frozenset()


def digest_name(digest: str) -> str:
    """Name of a file with this SHA-256 among sources: `sha256:` and the digest."""
    return f"sha256:{digest}"
