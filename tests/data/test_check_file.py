"""The report on a data file: counts worked by hand, and every bad row."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from boresight.cli.main import main
from boresight.core.errors import UserError
from boresight.data.check_file import check_file, print_report


def u(content: str) -> dict:
    return {"role": "user", "content": content}


def a(content: str) -> dict:
    return {"role": "assistant", "content": content}


SYSTEM = {"role": "system", "content": "s"}
ROWS = [
    {"id": "1", "prompt": [u("q")], "chosen": [a("longer")], "rejected": [a("short")], "score_chosen": 2},
    {"id": "1", "prompt": [u("q")], "chosen": [a("same")], "rejected": [a("same")]},
    {"prompt": [SYSTEM, u("q"), a("x"), u("r")], "chosen": [a("r, yes")], "rejected": [a("no")]},
    {"prompt": [u("1"), u("2")], "chosen": [a("a")], "rejected": [a("bb")]},
    {"prompt": [u("q")], "chosen": [a("good")], "rejected": [u("bad")]},
    {"prompt": [u("[bold]")], "chosen": [{"role": "[red]tool", "content": "x"}], "rejected": [a("bad")]},
]
ROWS[0]["score_rejected"] = 2
ROWS[2] |= {"score_chosen": 1, "score_rejected": 3}


def printed(report, width: int = 120) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=width, force_terminal=False))
    return stream.getvalue()


def test_columns_that_are_not_read_are_listed(jsonl):
    """`good` and `bad` make no pairs: the rows are prompts, and a method that needs pairs has none."""
    report = check_file(jsonl({"prompt": "q", "good": "a", "bad": "b"}, {"prompt": "r", "agent": "bo"}))
    assert report.other_columns == ["good", "bad", "agent"]
    assert "not trained on: good, bad, agent (kept for reward functions)" in printed(report)
    assert check_file(jsonl({"nums": [3, 4], "target": 7})).other_columns == []
    assert "not trained on" not in printed(check_file(jsonl(*ROWS)))


def test_counts(jsonl):
    """Four readable rows: one multi-turn with a system prompt, one with two user turns running."""
    report = check_file(jsonl(*ROWS))
    assert report.rows == 6
    assert {c.label: (c.count, c.total) for c in report.counts} == {
        "multi-turn": (1, 4),
        "with a system prompt": (1, 4),
        "the same role twice in a row": (1, 4),
        "repeated prompts": (1, 4),
        "repeated ids": (1, 4),
        "identical answers": (1, 4),
        "answer opens with the prompt": (1, 4),
        "unequal numbers of turns": (0, 4),
        "chosen is longer": (2, 4),
        "equal scores": (1, 2),
        "rejected scores higher": (1, 2),
    }
    assert report.lengths["chosen"][0::4] == [1, 6]
    assert report.lengths["prompt"][0::4] == [1, 4]


def test_prompts_that_only_begin_alike_do_not_repeat(jsonl):
    report = check_file(jsonl({"prompt": [u("q"), a("x"), u("r")]}, {"prompt": [u("q"), a("x"), u("s")]}))
    assert next(c.count for c in report.counts if c.label == "repeated prompts") == 0


def test_every_bad_row_is_listed_and_markup_in_data_is_text(jsonl):
    report = check_file(jsonl(*ROWS))
    assert [(bad.row, bad.field) for bad in report.bad] == [(5, "rejected"), (6, "chosen")]
    text = printed(report)
    assert "ends with a turn of the user, not the assistant" in text
    assert "'[red]tool'" in text
    assert "2 malformed rows of 6." in text


def test_rows_that_cannot_be_parsed_are_listed_with_the_others(jsonl, tmp_path, capsys):
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    path, lines = jsonl(good), [json.dumps(good)] * 12
    lines[6], lines[8], lines[10] = '{"prompt": "q", ', '{"prompt": "q", "chosen": "a", "other": "b"}', "null"
    lines[11] = '{"prompt": "q", "chosen": "a", "chosen": "b", "rejected": "b"}'
    path.write_text("\n".join(lines))
    assert [bad.row for bad in check_file(path).bad] == [7, 9, 11, 12]
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(path)])
    said = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 1 and "column 16" in said and "4 malformed rows of 12." in said
    table = tmp_path / "rows.csv"
    table.write_text("prompt,chosen,rejected\nq,a,b\nq,a,b,c\nq,a,b\n")
    assert [(bad.row, bad.message) for bad in check_file(table).bad] == [
        (2, "has more cells than the header")
    ]


def test_a_file_of_bad_rows_alone_is_reported(jsonl):
    report = check_file(jsonl(*[{"prompt": "q", "chosen": "", "rejected": "x"}] * 40))
    assert len(report.bad) == report.rows == 40
    assert printed(report).count("is empty") == 40


def test_demonstrations_and_prompts(jsonl):
    shown = check_file(jsonl({"messages": [u("qq"), a("abc")]}))
    assert shown.lengths == {"prompt": [2] * 5, "answer": [3] * 5}
    assert "No malformed rows." in printed(shown)
    assert check_file(jsonl({"prompt": "qqq"})).lengths == {"prompt": [3] * 5}


def test_labeled_answers(jsonl):
    rows = [{"prompt": "qq", "completion": "a" * n, "label": n < 3} for n in (1, 2, 7, 8)]
    report = check_file(jsonl(*rows, {**rows[0], "label": "perhaps"}))
    assert report.lengths["good"][0::4] == [1, 2] and report.lengths["bad"][0::4] == [7, 8]
    assert [(c.count, c.total) for c in report.counts if c.label == "labeled good"] == [(2, 4)]
    assert [(bad.row, bad.field) for bad in report.bad] == [(5, "label")]
    assert "read 4 labeled answers" in printed(report)


def test_unreadable_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check_file(tmp_path / "none.jsonl")
