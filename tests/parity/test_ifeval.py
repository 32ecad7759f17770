"""Every IFEval instruction, strict and loose, against lm-evaluation-harness 0.4.13.

The answers: those of the starter model to every prompt of the public data set (`ifeval_answers.jsonl.gz`, up
to 128 tokens at temperature 0.7), made-up ones that follow each instruction or nearly do, and odd texts.

Where the two differ on purpose, the harness has no verdict of its own:
- `letter_frequency` of a character that is no letter: it counts a letter drawn at random instead.
- No language can be detected: it takes the instruction for followed, where we have no verdict.
Its language detector is seeded as ours is here; without a seed it contradicts itself between two calls.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from boresight.tasks.ifeval import rewards
from boresight.tasks.ifeval.registry import INSTRUCTIONS
from tests.tasks.ifeval.texts import ODD_ANSWERS, dressed, following

pytestmark = [pytest.mark.parity, pytest.mark.real_data]

ANSWERS = Path(__file__).parent / "ifeval_answers.jsonl.gz"
DETECTING = {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}
STRICT, LOOSE = rewards.strict_verdicts, rewards.loose_verdicts


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The harness's IFEval module, without the rest of the harness and its dependencies."""
    for package in ("lm_eval", "langdetect", "nltk", "punkt", "immutabledict"):
        pytest.importorskip(package, reason=f"make bench-setup installs {package}")
    import langdetect
    import nltk

    nltk.data.path.append(str(_punkt_tab(tmp_path_factory.mktemp("nltk_data"))))
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    tasks = ModuleType("lm_eval.tasks")
    tasks.__path__ = [str(Path(spec.submodule_search_locations[0]) / "tasks")]
    sys.modules["lm_eval.tasks"] = tasks
    try:
        from lm_eval.tasks.ifeval import utils

        langdetect.DetectorFactory.seed = 0
        yield utils
    finally:
        del sys.modules["lm_eval.tasks"]
        langdetect.DetectorFactory.seed = None


def _punkt_tab(folder: Path) -> Path:
    """NLTK's data folder with the English sentence model, in the files in which NLTK reads it."""
    from punkt import load_model

    model, english = load_model("english"), folder / "tokenizers/punkt_tab/english"
    english.mkdir(parents=True)
    (english / "abbrev_types.txt").write_text("\n".join(sorted(model.abbrev_types)))
    (english / "sent_starters.txt").write_text("\n".join(sorted(model.sent_starters)))
    (english / "collocations.tab").write_text("\n".join(map("\t".join, sorted(model.collocations))))
    contexts = sorted(model.ortho_context.items())
    (english / "ortho_context.tab").write_text("\n".join(f"{word}\t{flags}" for word, flags in contexts))
    return folder


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    path = Path(os.environ.get("BORESIGHT_DATA", "")) / "ifeval/input_data.jsonl"
    if not path.is_file():
        pytest.skip("needs ifeval/input_data.jsonl in BORESIGHT_DATA")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cases(rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Source, row and answer: the starter's answer to it and to the next row, made-up and odd ones."""
    with gzip.open(ANSWERS, "rt", encoding="utf-8") as file:
        answers = {answer["key"]: answer["response"] for answer in map(json.loads, file)}
    for number, row in enumerate(rows):
        yield "starter", row, answers[row["key"]]
        yield "starter, next row", row, answers[rows[(number + 1) % len(rows)]["key"]]
        for name, given in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            yield from (("made up", row, text) for made in following(name, given) for text in dressed(made))
        for text in (ODD_ANSWERS[number % len(ODD_ANSWERS)], ODD_ANSWERS[-1 - number % len(ODD_ANSWERS)]):
            yield "odd", row, text


def theirs(judge: Any, row: dict[str, Any], answer: str) -> list[bool]:
    asked = SimpleNamespace(instruction_id_list=row["instruction_id_list"], prompt=row["prompt"])
    return judge(SimpleNamespace(**vars(asked), kwargs=row["kwargs"]), answer).follow_instruction_list


def is_known(name: str, given: dict[str, Any], mine: bool | None, other: bool) -> bool:
    """A difference that the docstring explains."""
    if name == "keywords:letter_frequency":
        return not given["letter"].isalpha()
    return mine is None and other and name in DETECTING


@pytest.mark.parametrize(
    ("ours", "judge"),
    [(STRICT, "test_instruction_following_strict"), (LOOSE, "test_instruction_following_loose")],
    ids=["strict", "loose"],
)
def test_every_verdict_is_the_harness_s(harness, rows, ours, judge):
    judged: Counter[tuple[str, str, bool]] = Counter()
    known, wrong = Counter(), []
    for source, row, answer in cases(rows):
        asked = zip(row["instruction_id_list"], row["kwargs"], strict=True)
        verdicts = zip(ours(row, answer), theirs(getattr(harness, judge), row, answer), strict=True)
        for (name, given), (mine, other) in zip(asked, verdicts, strict=True):
            judged[name, source, other] += 1
            if mine is not other and is_known(name, given, mine, other):
                known[name, source] += 1
            elif mine is not other:
                wrong.append((row["key"], name, given, source, mine, other, answer[:200]))
    print(*table(judged, known), sep="\n")
    assert wrong == []
    both = {n for n in INSTRUCTIONS if all(_number(judged, n, followed) for followed in (True, False))}
    assert both == set(INSTRUCTIONS), "each instruction is followed by some answers and not by others"


def _number(judged: Counter[tuple[str, str, bool]], name: str, followed: bool) -> int:
    return sum(n for (other, _, verdict), n in judged.items() if other == name and verdict is followed)


def table(judged: Counter[tuple[str, str, bool]], known: Counter[tuple[str, str]]) -> Iterator[str]:
    """A line per instruction: verdicts and, of these, followed, for the starter and for all answers."""
    yield "instruction | starter: n, followed | all: n, followed | known differences"
    for name in sorted(INSTRUCTIONS):
        own = [judged[name, "starter", verdict] for verdict in (True, False)]
        every = [_number(judged, name, verdict) for verdict in (True, False)]
        explained = sum(n for (other, _), n in known.items() if other == name)
        yield f"{name} | {sum(own)}, {own[0]} | {sum(every)}, {every[0]} | {explained}"
