"""Read YAML written by a user; every error is one sentence."""

from __future__ import annotations

from typing import Any

import yaml

from boresight.core.errors import UserError, first_line

MOST_VALUES = 10**6
"""Maximum number of values in a recipe. A file of 1 MB cannot exceed it without aliases."""


def read_yaml(text: str, source: str) -> Any:
    """Parse YAML text.

    Raises:
        UserError: the text is not YAML, is nested too deeply, has a key twice, or has aliases that expand
            recursively or to more than `MOST_VALUES` values; the message names `source`.
    """
    try:
        value = yaml.load(text, _Loader)
        if _unfolded(value, {}) > MOST_VALUES:
            raise UserError(
                f"{source}: its aliases unfold to more than {MOST_VALUES:,} values; write them out."
            )
        return value
    except _HoldsItself:
        raise UserError(f"{source}: an alias is inside the value that it refers to; write it out.") from None
    except _RepeatedKey as error:
        raise UserError(f"{source}: {error}; keep one of them.") from None
    except _OtherBase as error:
        raise UserError(f"{source}: {error}.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}" if mark and "\n" in text else ""
        raise UserError(f"{source}: not valid YAML{where}; fix the syntax there.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML ({first_line(error)}).") from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply for YAML; flatten it.") from None
    except ValueError as error:  # a date or an integer that Python does not take
        raise UserError(f"{source}: not valid YAML ({first_line(error)}); put the value in quotes.") from None


class _HoldsItself(Exception):
    """Raised for a list or mapping that contains itself through an alias."""


def _unfolded(value: object, known: dict[int, int]) -> int:
    """Return the number of values if every alias were written out; `known` caches it by id of the object."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = -1
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_unfolded(part, known) for part in parts)
    if known[id(value)] < 0:
        raise _HoldsItself
    return known[id(value)]


class _RepeatedKey(Exception):
    """Raised for a mapping that has a key twice."""


class _OtherBase(Exception):
    """Raised for an integer that YAML reads in another base than 10."""


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that refuses repeated keys, of which YAML would silently keep the last.

    It also refuses integers that YAML 1.1 does not read in base 10: `010` would be 8, and `1:30` would be 90.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):  # as in an unquoted `{{ name }}` of a template
                raise yaml.constructor.ConstructorError(None, None, "a key is no name", key.start_mark)
            if key.value in first and key.value != "<<":
                raise _RepeatedKey(f"{key.value} stands in line {first[key.value]} and again in line {line}")
            first[str(key.value)] = line
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        digits = str(node.value).lstrip("+-")
        if ":" in digits or (digits[:1] == "0" and digits.strip("0_") and digits[1:2] not in "xob"):
            base = 60 if ":" in digits else 8
            raise _OtherBase(f"YAML reads {node.value} in base {base}; write it in base 10, or in quotes")
        return int(super().construct_yaml_int(node))

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        try:
            return bool(super().construct_yaml_bool(node))
        except KeyError:
            raise yaml.constructor.ConstructorError(None, None, "no boolean", node.start_mark) from None


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_yaml_bool)
