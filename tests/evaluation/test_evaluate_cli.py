"""`evaluate`, `compare` and `arena` as a user meets them: bad input is one sentence and exit code 2."""

import json
from pathlib import Path

import pytest

from boresight.cli import main

STUDY = Path(__file__).parents[2] / "recipes" / "study" / "leaderboard.csv"


@pytest.fixture
def boresight(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main.main(list(map(str, arguments)))
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def test_evaluate_writes_a_folder_and_says_the_verdict(boresight, tmp_path):
    for name, operator in (("old", "*"), ("new", "+")):
        rows = [
            {"id": f"p{i}", "answer": f"<answer>{i}{operator if i % 4 else '+-'[name == 'new']}5</answer>"}
            for i in range(1, 21)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = (json.dumps({"id": f"p{i}", "nums": [i, 5], "target": i + 5}) + "\n" for i in range(1, 21))
    (tmp_path / "problems.jsonl").write_text("".join(problems))
    (tmp_path / "eval.yaml").write_text(
        "prompts: problems.jsonl\njudge: {name: countdown}\n"
        "systems: {old: {answers: old.jsonl}, new: {answers: new.jsonl}}\n"
    )
    code, out, _ = boresight("evaluate", "eval.yaml", "trust.controls=4", "--run", "out")
    assert code == 0
    assert "new wins 75.0 % of prompts against old" in out and "new beats old" in out
    assert "| new over old | 75.0 % [" in (tmp_path / "out" / "report.md").read_text()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "config.yaml", "environment.json", "evaluation.json", "comparisons.jsonl", "report.html",
        "report.md", "report.csv", "report.tex",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "none.yaml"], "none.yaml: there is no such recipe"),
        (["compare", "a"], "at least two run folders"),
        (["compare", "a", "b"], "a: there is no such run folder"),
        (["compare", "a", "b", "--bar", "0.1"], "--bar holds the rows of a CSV"),
        (["compare", "none.csv"], "none.csv: there is no such file"),
        (["compare", STUDY, "--out", "none/x.html"], "there is no folder none"),
        (["compare", STUDY, "--out", "x.md"], "give it the ending .html"),
        (["arena", "a", "b"], "a: there is no such file or run folder"),
    ],
)
def test_a_mistake_is_one_sentence(boresight, arguments, message):
    code, _, error = boresight(*arguments)
    assert code == 2 and message in error and "Traceback" not in error
    assert not any(Path.cwd().iterdir()), "nothing half-written"


def test_compare_takes_a_published_table(boresight, tmp_path):
    code, out, _ = boresight("compare", STUDY, "--bar", "0.10")
    assert code == 0 and "DPO-20k: 39 of 400, 9.8 % [7.0, 13.1]." in out
    assert "1 short of the 40 that the bar asks for; not resolved" in out
    assert {p.name for p in tmp_path.iterdir()} == {f"compare.{end}" for end in ("html", "md", "csv", "tex")}


def test_help_lists_every_field_of_the_recipe(boresight):
    code, out, _ = boresight("evaluate", "--help")
    assert code == 0
    for field in (
        "systems.NAME.model",
        "generate.temperature",
        "trust.people",
        "judge.orders",
        "judge.limits.rpm",
    ):
        assert field in out
