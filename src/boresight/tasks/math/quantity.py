r"""Parse an answer as an exact number with a unit.

`1,234.50`, `-3`, `3/4`, `\frac{3}{4}`, `3 1/2`, `45%`, `$18`, `18 apples`, `2 dozen`, `x = 5`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_WRAPPED = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|operatorname|mbox|hbox)\s?\{([^{}]*)\}")
_QUANTITY = re.compile(
    r"(?P<sign>[-+]?)\s?(?P<currency>[$€£¥]?)\s?(?P<sign2>-?)"
    r"(?:(?P<whole>\d{1,9}(?=\s?\\frac|\s\d+/))?\s?"
    r"(?:\\frac\s?\{(?P<top>[\d,.]+)\}\s?\{(?P<bottom>[\d,.]+)\}|\\frac\s?(?P<t1>\d)\s?(?P<b1>\d)"
    r"|(?P<over>[\d,.]+)\s?/\s?(?P<under>[\d,.]+))"
    r"|(?P<plain>\d{1,3}(?: \d{3})+|[\d,.]+(?:[eE][-+]?\d{1,3})?))"
    r"\s?(?P<percent>%?)\s?(?P<unit>°?\s?(?:[A-Za-z][A-Za-z' /-]*(?:\^\{?[23]\}?)?)?)"
)
_DIGITS = re.compile(r"(?:\d{1,3}(?:[, ]\d{3})+(?!\d)|\d+)?(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_ASSIGNED = re.compile(r"[A-Za-z]\s?(?:_\{?\w\}?)?\s?=\s?")

MULTIPLIERS = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
CURRENCY = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen"}
SPELLINGS = {
    "dollar": ["usd"],
    "euro": ["eur"],
    "pound": ["gbp", "lb"],
    "millimeter": ["mm"],
    "centimeter": ["cm"],
    "meter": ["m"],
    "kilometer": ["km"],
    "inch": ["in", "inche"],
    "foot": ["ft", "feet"],
    "milligram": ["mg"],
    "gram": ["g"],
    "kilogram": ["kg"],
    "milliliter": ["ml"],
    "liter": ["l"],
    "second": ["s", "sec"],
    "minute": ["min"],
    "hour": ["h", "hr"],
    "mile per hour": ["mph"],
    "degree": ["°"],
    "person": ["people"],
}
"""Other spellings of a unit, without the s of the plural."""
UNITS = {spelling: unit for unit, spellings in SPELLINGS.items() for spelling in spellings}
# fmt: off
NO_UNIT = frozenset({
    "a", "about", "all", "almost", "an", "and", "approximately", "at", "but", "by", "divided", "equals",
    "exactly", "from", "half", "is", "least", "less", "log", "minus", "more", "most", "no", "none", "not",
    "of", "or", "over", "pi", "plus", "quarter", "sin", "sqrt", "squared", "than", "third", "times", "to",
    "until",
})
# fmt: on
"""Words that change the meaning of the number before them, so that the number is not parsed.

Examples: 18 or so, 18 and a half, 18 pi.
"""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number, whether it is in percent, and the words of its unit."""

    value: Fraction
    percent: bool = False
    unit: tuple[str, ...] = ()

    def equals(self, gold: Quantity) -> bool:
        """Return whether this quantity is a correct answer if `gold` is the gold answer.

        A unit may be omitted, and 45 % may be written as 0.45 or 45.
        """
        mine, other = set(self.unit), set(gold.unit)
        if mine and other and not (mine <= other or other <= mine):
            return False
        if mine and other and (mine ^ other) & {"per", "^2", "^3"}:
            return False
        if self.percent == gold.percent:
            return self.value == gold.value
        bare, percent = (gold.value, self.value) if self.percent else (self.value, gold.value)
        return bare in (percent, percent / 100)


def quantity(text: str) -> Quantity | None:
    """Parse a normalized answer as a number with a unit; None if it is anything else."""
    text = " ".join(_WRAPPED.sub(r" \1 ", text).split())
    assigned = _ASSIGNED.match(text)
    found = _QUANTITY.fullmatch(text[assigned.end() :] if assigned else text)
    if found is None:
        return None
    value, unit = _value(found), _unit(found["unit"])
    if value is None or unit is None or (found["over"] and value.denominator == 1):
        return None  # 36/2 is arithmetic to be done, not a number
    percent = bool(found["percent"]) or unit[:1] == ("percent",)
    unit = unit[1:] if unit[:1] == ("percent",) else unit
    while unit and unit[0] in MULTIPLIERS:
        value, unit = value * MULTIPLIERS[unit[0]], unit[1:]
    currency = (CURRENCY[found["currency"]],) if found["currency"] else ()
    return Quantity(value, percent, (*currency, *unit))


def _value(found: re.Match[str]) -> Fraction | None:
    top = found["top"] or found["t1"] or found["over"] or found["plain"]
    bottom = found["bottom"] or found["b1"] or found["under"] or "1"
    if (found["sign2"] and found["sign"]) or not (_DIGITS.fullmatch(top) and _DIGITS.fullmatch(bottom)):
        return None
    try:
        value = Fraction(_digits(top)) / Fraction(_digits(bottom)) + int(found["whole"] or 0)
    except (ValueError, ZeroDivisionError):
        return None
    return -value if "-" in (found["sign"], found["sign2"]) else value


def _digits(number: str) -> str:
    return number.replace(",", "").replace(" ", "")


def _unit(text: str) -> tuple[str, ...] | None:
    """Return the words of a unit, in singular and in one spelling; None if they are not a unit."""
    words = re.findall(r"[a-z']+|°|\^\{?[23]|/", text.lower())
    symbols = {word for word in words if len(word) == 1 and word.isalpha()} - set(UNITS)
    if len(words) > 6 or symbols or not NO_UNIT.isdisjoint(words):
        return None
    singular = [word[:-1] if len(word) > 2 and word[-1] == "s" else word for word in words]
    named = " ".join("per" if word == "/" else UNITS.get(word, word).replace("{", "") for word in singular)
    return tuple(named.split())
