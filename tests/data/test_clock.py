"""Templates that print the day: a run renders with the day on which it began."""

from __future__ import annotations

import datetime
import io
import json

import pytest
from rich.console import Console
from transformers.utils import chat_template_utils

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import write_state
from boresight.data.chat import encode_prompt
from boresight.data.prepare import DatasetCache, prepare
from boresight.data.rendering.clock import pin_day, printed_day, today
from boresight.runs.training_folder import TrainingFolder
from tests.tiny import tiny_tokenizer

ASKED = [{"role": "user", "content": "q"}]
DATED = (
    "<|im_start|>system\nToday is {{ strftime_now('%d %b %Y') }}{% if strftime_now is defined %}.{% endif %}"
    "<|im_end|>\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def on(monkeypatch):
    """Set the clock of templates, and of nothing else."""

    def on(day: str) -> None:
        class Fixed(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls.fromisoformat(f"{day}T07:00")

        monkeypatch.setattr(chat_template_utils, "datetime", Fixed)

    return on


def dated(day: str | None = None, template: str = DATED):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    if day:
        pin_day(tokenizer, day)
    return tokenizer


def text(tokenizer) -> str:
    return tokenizer.decode(encode_prompt(tokenizer, ASKED))


def test_the_pinned_day_is_printed_whatever_the_clock_says(on):
    on("2026-11-25")
    assert today() == printed_day(dated()) == "2026-11-25"
    assert "Today is 25 Nov 2026." in text(dated())
    assert "Today is 04 Mar 2025." in text(dated("2025-03-04"))
    assert printed_day(dated("2025-03-04")) == "2025-03-04"
    assert printed_day(tiny_tokenizer()) is None


@pytest.mark.parametrize("asked", ["%Y-%m-%d", "%-d.%-m.%y", "%A, %B %e", "%j %U %H:%M:%S %p", "%d %b %Y %Z"])
def test_every_way_to_write_it(asked):
    """Also in a macro of the template, which sees the day as it would see the clock; noon is the hour."""
    template = f"\n{{% macro head() %}}{{{{ strftime_now('{asked}') }}}}{{% endmacro %}}{{{{ head() }}}}|"
    expected = datetime.datetime(2025, 3, 4, 12).strftime(asked)
    assert text(dated("2025-03-04", template)) == f"\n{expected}|"


def test_a_template_without_a_day_is_rendered_as_it_is():
    pinned = tiny_tokenizer()
    pin_day(pinned, "2025-03-04")
    assert text(pinned) == text(tiny_tokenizer())


@pytest.fixture
def recipe(tmp_path):
    row = {"prompt": "q", "completion": "a"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    data = {"train": str(tmp_path / "rows.jsonl"), "eval_rows": 0}
    return Recipe.parse({"method": {"name": "sft"}, "data": data, "optim": {"lr": 1e-3}})


def test_the_day_is_kept_with_the_run_and_another_day_is_other_data(recipe, tmp_path, on):
    cache = DatasetCache().of(recipe, "demonstration")
    on("2026-11-24")
    first = prepare(cache, dated(), Console(file=io.StringIO()))
    folder = TrainingFolder(tmp_path / "run")
    with folder:
        folder.begin_run(recipe, first.facts(), [], {})
    assert folder.earlier().template_day == first.train.facts["template_day"] == "2026-11-24"
    on("2026-11-25")
    again = prepare(cache, dated(folder.earlier().template_day), Console(file=io.StringIO()))
    assert again.train.rows[0].prompt.tolist() == first.train.rows[0].prompt.tolist()
    other = prepare(cache, dated(), Console(file=io.StringIO()))
    assert other.train.rows[0].prompt.tolist() != first.train.rows[0].prompt.tolist()
    with folder:
        folder.lock()
        with pytest.raises(
            UserError, match=r"data differs in .*train\.template_day \(2026-11-24 there, 2026-11-25"
        ):
            folder.resume_from(tmp_path / "run" / "checkpoints" / "step-1", other.facts())


def test_other_tokens_of_the_same_data_are_other_data(recipe, tmp_path):
    """A template file that was edited between a run and its resumption; older runs kept no digest."""
    cache = DatasetCache().of(recipe, "demonstration")
    first, edited = (
        prepare(cache, dated("2026-11-24", template), Console(file=io.StringIO())).facts()
        for template in (DATED, DATED.replace("Today is", "It is"))
    )
    assert first["train"]["sha256"] == edited["train"]["sha256"]
    place = tmp_path / "run" / "checkpoints" / "step-1"
    with TrainingFolder(tmp_path / "run") as folder:
        folder.begin_run(recipe, first, [], {})
        place.mkdir(parents=True)
        write_state(place / "state.json", {"step": 1})
        with pytest.raises(UserError, match=r"the data differs in train\.tokens_sha256"):
            folder.resume_from(place, edited)
        assert folder.resume_from(place, first) == 1
        old = {
            side: {k: v for k, v in facts.items() if k != "tokens_sha256"} for side, facts in first.items()
        }
        folder.data.write_text(json.dumps(old))
        assert folder.resume_from(place, first) == 1
