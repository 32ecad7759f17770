"""Convert names for the model card: files are published without folders, and servers without hosts.

Folders and hosts are private to the machines of a run. Everything else is published as it is in the recipe:
hub ids with their subset and split, prompts, and other text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from ipaddress import ip_address
from itertools import chain, count
from pathlib import Path, PurePath
from typing import Any

from boresight.core.files import expanded
from boresight.data.reading.files import is_hub_id

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PATH_KEYS = {
    "model.name",
    "model.chat_template",
    "data.train",
    "data.eval",
    "rollout.shared_folder",
    "evaluate.prompts",
    "reward.judge.model",
    "reward.judge.tokenizer",
    "reward.judge.prompt",
    "reward.judge.file",
}
"""Dotted keys of a recipe whose values are files, folders or hub ids; of a mapping, its keys are."""
AT_SERVER = "reward.judge.model"
"""Key whose value is the name of a model at a server if the judge has an endpoint, else a path."""
SERVER_KEYS = {"base_url", "endpoint", "url"}
"""Last parts of the dotted keys whose values are addresses of servers."""
PATH_IN_TEXT = re.compile(
    r"(?<![^\s\"'`=(,;:])(?:(?:~[\w.-]*|\.{1,2})(?:/[^\s/\"'`),;:]+)+|(?:file://)?(?:/[^\s/\"'`),;:]+){2,})"
)
"""Pattern of a path within a text: an absolute path of at least two parts, or one that begins with `~`, `.`
or `..`."""
SERVER_URL = re.compile(
    r"(?<![\w+.-])(?!file:|hf:)(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<server>[^\s/?#\"'`<>)]+)"
    r"(?P<path>[^\s?#\"'`<>)]*)[^\s\"'`<>)]*",
    re.IGNORECASE,
)
HOST = "HOST"
"""Placeholder that replaces a host and its port."""
LOCAL_HOSTS = (".local", ".localhost", ".internal", ".lan", ".home", ".corp", ".intranet")


class PublicNames:
    """Public names for one model card.

    A file or folder has the same public name everywhere in the card, and two of them never have the same: the
    second `train.jsonl` becomes `2:train.jsonl`.
    """

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def recipe(self, value: Any, key: str = "") -> Any:
        """Return a recipe, or the part of it at the dotted `key`, with public names.

        Keys of a mapping that would become equal are numbered.
        """
        if isinstance(value, Mapping):
            shown: dict[Any, Any] = {}
            for name, item in value.items():
                below = f"{key}.{name}".removeprefix(".")
                at_server = below == AT_SERVER and "endpoint" in value
                shown[_untaken(self._public(name, key), shown)] = (
                    self.text(item) if at_server else self.recipe(item, below)
                )
            return shown
        return (
            [self.recipe(item, key) for item in value]
            if isinstance(value, list)
            else self._public(value, key)
        )

    def _public(self, value: Any, key: str) -> Any:
        if not isinstance(value, str):
            return value
        if key in PATH_KEYS:
            return self.path(value)
        if key.rpartition(".")[2] in SERVER_KEYS and (address := SERVER_URL.fullmatch(value)):
            return _without_host(address)
        return self.text(value)

    def path(self, name: str) -> str:
        """Return a path without its parent folders, or a hub id unchanged; a `@split` is kept."""
        if hub_id(name):
            return name
        source, at, split = name.rpartition("@")
        if not at or "/" in split:
            source, at, split = name, "", ""
        place = str(expanded(source).absolute())
        if place not in self._shown:
            self._shown[place] = _untaken(PurePath(source).name or source, self._shown.values())
        return f"{self._shown[place]}{at}{split}"

    def text(self, text: str) -> str:
        """Return a text with private hosts removed, and with its paths reduced to public names."""
        if "/" in text and _exists(text):
            return self.path(text)
        public = SERVER_URL.sub(lambda found: _without_host(found) if _is_private(found) else found[0], text)
        return PATH_IN_TEXT.sub(lambda found: self.path(found[0]), public)


def hub_id(name: str) -> str | None:
    """Return the hub id `ORG/NAME` in a name such as `ORG/NAME:SUBSET@SPLIT`; None for local paths."""
    source = name.partition("@")[0]
    bare = source.partition(":")[0]
    # `runs/NAME` is a local path even if there is no such folder on this machine.
    local = bare.startswith("runs/") or not is_hub_id(source) or _exists(bare)
    return bare if HUB_ID.fullmatch(bare) and not local else None


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # longer than a path can be
        return False


def _untaken(name: Any, taken: Container[Any]) -> Any:
    return next(one for one in chain([name], (f"{n}:{name}" for n in count(2))) if one not in taken)


def _without_host(address: re.Match[str]) -> str:
    """Return an address without host, port and query: `http://10.0.0.3:8000/v1?key=secret` becomes
    `http://HOST/v1`."""
    return f"{address['scheme']}://{HOST}{address['path']}"


def _is_private(address: re.Match[str]) -> bool:
    """Whether an address contains credentials, or a host of a local network, judged by its name or number."""
    host = re.sub(r":\d*$", "", address["server"]).strip("[]").lower()
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "@" in host or "." not in host or host.endswith(LOCAL_HOSTS)
