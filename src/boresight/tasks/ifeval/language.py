"""Detect the language of an answer with langdetect: letter n-grams and a naive Bayes classifier.

langdetect averages random trials. `langdetect.detect` uses new random numbers in every call, so a short
answer may be English in one call and Dutch in the next. Here every call uses the same random numbers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError

SEED = 0


def is_in_language(text: str, *, language: str) -> bool | None:
    """Whether the text is in the language with the code `language`; None if no language can be detected."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = language_detectors().create()
    detector.append(text)
    try:
        return bool(detector.detect() == language)
    except LangDetectException:  # there are no letters
        return None


def read_language(value: object) -> str:
    """Return the code of a language that can be detected.

    Raises:
        ValueError: the value is not such a code; the message completes the sentence "`language` …".
        UserError: the extra `ifeval` is not installed.
    """
    known = sorted(language_detectors().get_lang_list())
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"is {value!r}; give one of {', '.join(known)}")
    return value


@cache
def language_detectors() -> Any:
    """Return the factory of detectors, with the profiles of 55 languages, sorted by name.

    Raises:
        UserError: the extra `ifeval` is not installed.
    """
    try:
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
    except ImportError:
        raise UserError(
            "reward ifeval: detecting languages needs the package langdetect; "
            "run `pip install 'boresight[ifeval]'`."
        ) from None
    factory = DetectorFactory()
    profiles = sorted(Path(PROFILES_DIRECTORY).iterdir())
    factory.load_json_profile([file.read_text(encoding="utf-8") for file in profiles if file.name[0] != "."])
    factory.set_seed(SEED)
    return factory
