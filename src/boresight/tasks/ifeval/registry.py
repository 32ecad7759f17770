"""Registry of all instructions by their id, and the parser for the instructions of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.tasks.ifeval import case, combination, detectable, english, keywords, language, length
from boresight.tasks.ifeval.parameters import (
    read_count,
    read_letter,
    read_phrase,
    read_position,
    read_relation,
    read_words,
)

ParameterReader = Callable[[object], Any]
Check = Callable[[str], bool | None]
"""Function that returns whether a text follows an instruction; None if it cannot be checked."""

IDS, PARAMETERS = "instruction_id_list", "kwargs"
"""Columns with the ids and the parameters of a row's instructions."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """How an instruction is checked, by `check(text, **parameters)`, and how each parameter is read.

    `load` loads the packages and data that the check needs, so that a missing one is reported before any
    answer is checked.
    """

    check: Callable[..., bool | None]
    parameters: Mapping[str, ParameterReader] = field(default_factory=dict)
    load: Callable[[], object] = lambda: None

    def bind(self, given: Mapping[str, object]) -> Check:
        """Return the check with the parameters in a row; a null parameter counts as absent.

        Raises:
            ValueError: a parameter is missing, unknown or wrong; the message names it.
            UserError: a package is missing.
        """
        self.load()
        present = {name: value for name, value in given.items() if value is not None}
        for name in present.keys() - self.parameters.keys():
            known = nearest(name, self.parameters) if self.parameters else "; it has none"
            raise ValueError(f"has the unknown parameter {name!r}{known}")
        read = {name: _read(reader, present, name) for name, reader in self.parameters.items()}
        return lambda text: self.check(text, **read)


INSTRUCTIONS: dict[str, Instruction] = {
    "keywords:existence": Instruction(keywords.contains_keywords, {"keywords": read_words}),
    "keywords:frequency": Instruction(
        keywords.keyword_frequency_holds,
        {"keyword": read_phrase, "frequency": read_count, "relation": read_relation},
    ),
    "keywords:forbidden_words": Instruction(keywords.avoids_words, {"forbidden_words": read_words}),
    "keywords:letter_frequency": Instruction(
        keywords.letter_frequency_holds,
        {"letter": read_letter, "let_frequency": read_count, "let_relation": read_relation},
    ),
    "punctuation:no_comma": Instruction(keywords.avoids_commas),
    "language:response_language": Instruction(language.is_in_language, {"language": language.read_language}),
    "length_constraints:number_words": Instruction(
        length.word_count_holds, {"num_words": read_count, "relation": read_relation}
    ),
    "length_constraints:number_sentences": Instruction(
        length.sentence_count_holds,
        {"num_sentences": read_count, "relation": read_relation},
        english.sentence_tokenizer,
    ),
    "length_constraints:number_paragraphs": Instruction(
        length.has_paragraphs, {"num_paragraphs": read_count}
    ),
    "length_constraints:nth_paragraph_first_word": Instruction(
        length.paragraph_starts_with,
        {"num_paragraphs": read_count, "nth_paragraph": read_position, "first_word": read_phrase},
    ),
    "detectable_content:number_placeholders": Instruction(
        detectable.has_placeholders, {"num_placeholders": read_count}
    ),
    "detectable_content:postscript": Instruction(
        detectable.has_postscript, {"postscript_marker": read_phrase}
    ),
    "detectable_format:number_bullet_lists": Instruction(detectable.has_bullets, {"num_bullets": read_count}),
    "detectable_format:number_highlighted_sections": Instruction(
        detectable.has_highlights, {"num_highlights": read_count}
    ),
    "detectable_format:multiple_sections": Instruction(
        detectable.has_sections, {"section_spliter": read_phrase, "num_sections": read_count}
    ),
    "detectable_format:title": Instruction(detectable.has_title),
    "detectable_format:json_format": Instruction(detectable.is_json),
    "detectable_format:constrained_response": Instruction(detectable.is_constrained_response),
    "combination:two_responses": Instruction(combination.has_two_responses),
    "combination:repeat_prompt": Instruction(combination.repeats_prompt, {"prompt_to_repeat": read_phrase}),
    "startend:end_checker": Instruction(combination.ends_with, {"end_phrase": read_phrase}),
    "startend:quotation": Instruction(combination.is_quoted),
    "change_case:english_capital": Instruction(case.is_english_in_capitals, load=language.language_detectors),
    "change_case:english_lowercase": Instruction(
        case.is_english_in_lower_case, load=language.language_detectors
    ),
    "change_case:capital_word_frequency": Instruction(
        case.capital_word_count_holds,
        {"capital_frequency": read_count, "capital_relation": read_relation},
        english.sentence_tokenizer,
    ),
}


def read_instructions(row: Mapping[str, Any]) -> list[Check]:
    """Return the checks for the instructions of a row, in order.

    Raises:
        UserError: a column is missing or is not a list, the two differ in length, an id is unknown, or a
            parameter is missing, unknown or wrong; the message names the column.
    """
    ids, given = _column(row, IDS), _column(row, PARAMETERS)
    if len(ids) != len(given):
        raise _wrong(PARAMETERS, f"has {len(given)} entries for {len(ids)} instructions; give one for each")
    return [_bound(name, parameters) for name, parameters in zip(ids, given, strict=True)]


def _column(row: Mapping[str, Any], name: str) -> Sequence[Any]:
    if name not in row:
        raise _wrong(name, "is missing; give `instruction_id_list` and `kwargs` as IFEval has them")
    value = row[name]
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise _wrong(name, "is not a list with an entry per instruction")
    return value


def _bound(name: object, parameters: object) -> Check:
    instruction = INSTRUCTIONS.get(name) if isinstance(name, str) else None
    if instruction is None:
        raise _wrong(IDS, f"names no known instruction with {name!r}{nearest(str(name), INSTRUCTIONS)}")
    if not isinstance(parameters, Mapping | None):
        raise _wrong(PARAMETERS, f"of {name} is {type(parameters).__name__}, not an object")
    try:
        return instruction.bind(parameters or {})
    except ValueError as error:
        raise _wrong(PARAMETERS, f"of {name} {error}") from None


def _read(reader: ParameterReader, given: Mapping[str, object], name: str) -> Any:
    if name not in given:
        raise ValueError(f"lacks the parameter {name!r}")
    try:
        return reader(given[name])
    except ValueError as error:
        raise ValueError(f"is wrong: {name} {error}") from None


def _wrong(column: str, complaint: str) -> UserError:
    return UserError(f"reward ifeval: `{column}` {complaint}.")
