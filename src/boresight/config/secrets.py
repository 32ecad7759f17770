"""Types of fields for the environment variable of an API key and for the address of a server.

A recipe is written to run folders. A recipe that contains a key itself is therefore refused before anything
is written, and no error quotes the key.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

SECRET = "secret"
"""Error type of values that are not quoted in messages."""
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def _variable(value: object) -> object:
    if not VARIABLE.fullmatch(str(value)):
        raise PydanticCustomError(
            SECRET, "must be the name of an environment variable, in capitals, and not the key itself"
        )
    return value


def _address(value: object) -> object:
    try:
        url = urlsplit(str(value))
        whole = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # brackets that are no IPv6 address, a port that is no number
        whole = False
    if not whole or "@" in url.netloc or url.query or url.fragment:
        raise PydanticCustomError(
            SECRET,
            "must look like https://host/v1, without user, password or query; keys go into the variable that "
            "key_env names",
        )
    return value


KeyVariable = Annotated[str, BeforeValidator(_variable)]
"""Type of a field with the name of an environment variable that contains a key."""
Address = Annotated[str, BeforeValidator(_address)]
"""Type of a field with the base URL of a server."""
