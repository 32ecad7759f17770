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


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def record_evaluation(folder, verdicts, trust="{}"):
    """Twenty prompts answered `old i` and `new i`, judged by the verdicts in a file."""
    for name in ("old", "new"):
        rows = [{"prompt": f"question {i}", "answer": f"{name} {i}"} for i in range(20)]
        write_lines(folder / f"{name}.jsonl", rows)
    write_lines(folder / "verdicts.jsonl", verdicts)
    (folder / "eval.yaml").write_text(
        "judge: {name: recorded, file: verdicts.jsonl}\n"
        f"systems: {{old: {{answers: old.jsonl}}, new: {{answers: new.jsonl}}}}\ntrust: {trust}\n"
    )


def recorded(i, **given):
    return {"prompt": f"question {i}", "completion_a": f"old {i}", "completion_b": f"new {i}", **given}


def test_recorded_verdicts_of_several_raters_make_a_win_rate(boresight, tmp_path):
    """New wins 16 prompts by three raters to none and one by two to one, ties two, and one has no verdict."""
    votes = [{"b": 3}] * 16 + [{"b": 2, "a": 1}] + [{"tie": 2}] * 2
    verdicts = [recorded(i, votes=given) for i, given in enumerate(votes)]
    record_evaluation(tmp_path, [*verdicts, recorded(99, winner="a"), recorded(0, votes={"b": 3})])
    code, out, err = boresight("evaluate", "eval.yaml", "--run", "out")
    assert code == 0, err
    rate = 100 * (16 + 2 / 3 + 1) / 19
    assert f"new wins {rate:.1f} % of prompts against old" in out
    assert "Two of its raters agree in 96 % [" in out and "of 19 prompts (19 comparisons" in out
    assert "1 row repeats an earlier verdict" in out and "1 are not of these answers" in out
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (pair,) = result["pairs"]
    assert [pair[k] for k in ("won", "tied", "lost", "failed")] == [17, 2, 0, 1]
    assert pair["win_rate"]["missing"] == 1 and pair["failures"] == {"no recorded verdict": 1}
    assert result["trust"]["raters"]["comparisons"] == 19 and not result["trust"]["controls"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Two of its raters agree" in page and "1 row repeats" in page


def test_too_many_verdicts_missing_are_no_verdict_and_all_missing_are_an_error(boresight, tmp_path):
    record_evaluation(tmp_path, [recorded(i, winner="b") for i in range(15)])
    code, out, _ = boresight("evaluate", "eval.yaml", "--run", "out")
    assert code == 0 and "No verdict on new against old: 5 of 20 judgments are missing" in out
    record_evaluation(tmp_path, [recorded(99, winner="b")])
    code, _, err = boresight("evaluate", "eval.yaml", "--run", "none")
    assert code == 2 and "all 20 judgments of new against old failed" in err
    assert "no recorded verdict: none in verdicts.jsonl" in err


def test_recorded_verdicts_are_held_against_people(boresight, tmp_path):
    record_evaluation(
        tmp_path, [recorded(i, votes={"b": 2, "a": 1}) for i in range(20)], "{people: people.csv}"
    )
    labels = [f"question {i},old {i},new {i},{'b' if i else 'a'}" for i in range(4)]
    (tmp_path / "people.csv").write_text("\n".join(["prompt,answer_a,answer_b,preferred", *labels]))
    code, out, err = boresight("evaluate", "eval.yaml", "--run", "out")
    assert code == 0, err
    assert "It agrees with people in 75 %" in out and "it contradicts them in 1" in out


def test_a_wrong_verdict_leaves_nothing_behind(boresight, tmp_path):
    record_evaluation(tmp_path, [recorded(0, winner="b"), recorded(1, preference=3)])
    code, _, err = boresight("evaluate", "eval.yaml", "--run", "out")
    assert code == 2 and "verdicts.jsonl, row 2: `preference` is 3; write a, b or tie" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "none.yaml"], "none.yaml: there is no such recipe"),
        (["compare", "a"], "at least two run folders"),
        (["compare", "a", "b"], "a: there is no such run folder"),
        (["compare", "a", "b", "--bar", "0.1"], "--bar compares the rows of a CSV"),
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
    assert "1 short of the 40 that the bar asks for; not significant" in out
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
