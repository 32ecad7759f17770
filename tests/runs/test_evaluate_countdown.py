"""`boresight evaluate` with a section `countdown`: an evaluation by reward in other words, same numbers."""

from __future__ import annotations

import gzip
import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from boresight.cli import main
from boresight.core.errors import UserError
from boresight.evaluation.graded.completions import (
    matched_completions,
    prompts_of_completions,
    read_completions,
)
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.tasks.countdown import countdown_prompt, generate_problems, score, solve
from boresight.tasks.countdown.problems import problem
from tests.rows import jsonl
from tests.test_config import ROOT
from tests.tiny import tiny_model, tiny_tokenizer

PROBLEMS = [problem([a, a + 1, a + 2], 3 * a + 3) for a in range(4, 10)]


def solution(p):
    return f"<answer> {' + '.join(map(str, p.numbers))} </answer>"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Problems, and completions of them from elsewhere: numbers in another order, four tries each."""
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "problems.jsonl", [{"nums": p.numbers, "target": p.target} for p in PROBLEMS])
    rows = [
        {"nums": p.numbers[::-1], "target": p.target, "completions": [solution(p)] * n + ["no"] * (4 - n)}
        for n, p in enumerate(PROBLEMS[:5])
    ]
    jsonl(tmp_path / "elsewhere.jsonl", rows)
    return tmp_path


def evaluate(*arguments):
    with pytest.raises(SystemExit) as left:
        main.main(["evaluate", *map(str, arguments)])
    return int(left.value.code or 0)


def recipe(place, **changes):
    raw = {"systems": {"elsewhere": {"answers": "elsewhere.jsonl"}}, "countdown": {"pass_at": [1, 2, 4]}}
    (place / "eval.yaml").write_text(json.dumps(raw | changes))
    return place / "eval.yaml"


def test_completions_made_elsewhere(place, capsys):
    """Of 4 tries 0 to 4 are right: accuracy 10/20, pass@2 (0 + 1/2 + 5/6 + 1 + 1) / 5, pass@4 4/5."""
    assert evaluate(recipe(place), "--run", "out") == 0
    found = json.loads((place / "out" / "evaluation.json").read_text())
    after = {m["name"]: m["after"]["value"] for m in found["metrics"]}
    # maj@k: who gives no answer does not vote, so one right answer of k is a majority.
    pass_at_2 = (1 / 2 + 5 / 6 + 2) / 5
    expected = {"accuracy": 0.5, "format_rate": 0.5, "pass_at_2": pass_at_2, "pass_at_4": 0.8}
    assert after == pytest.approx({**expected, "majority_at_2": pass_at_2, "majority_at_4": 0.8})
    assert all(m["before"] is None and m["difference"] is None for m in found["metrics"])
    out = capsys.readouterr().out
    assert "accuracy" in out and "50.0 %" in out and "pass@4" in out
    assert "Graded by countdown_correct; right from a reward of 1." in out


def test_the_numbers_are_those_of_the_evaluation_that_knew_countdown_alone(place):
    """Values, limits and n of two systems over 14 problems, as the version before this one wrote them."""
    rng, asked = random.Random(5), generate_problems(14, seed=3)
    jsonl(place / "problems.jsonl", [{"nums": p.numbers, "target": p.target} for p in asked])
    for name, chance, unanswered in (("old", 0.2, 2), ("new", 0.7, 5)):
        answered = [(i, p) for i, p in enumerate(asked) if i != unanswered]
        rows = [
            {
                "nums": p.numbers[:: -1 if i % 2 else 1],
                "target": p.target,
                "completions": drawn(rng, p, chance),
            }
            for i, p in answered
        ]
        jsonl(place / f"{name}.jsonl", rows)
    systems = {name: {"answers": f"{name}.jsonl"} for name in ("old", "new")}
    for mode in ("strict", "compat"):
        section = {"pass_at": [1, 2, 4], "mode": mode}
        made = recipe(place, prompts="problems.jsonl", systems=systems, countdown=section)
        assert evaluate(made, "--run", mode) == 0
        found = json.loads((place / mode / "evaluation.json").read_text())
        metrics = {m["name"]: m for m in found["metrics"]}
        for name, expected in BEFORE_THIS.items():
            for part, numbers in zip(("before", "after", "difference"), expected, strict=True):
                got = [metrics[name][part][key] for key in ("value", "low", "high", "n")]
                assert got == pytest.approx(list(numbers), rel=1e-12)


def drawn(rng, p, chance):
    texts = [
        f"<answer>{solve(p.numbers, p.target)}</answer>",
        f"<answer>{' + '.join(map(str, p.numbers))}</answer>",
    ]
    return [rng.choices([*texts, "I give up", None], [chance, 0.4, 0.2, 0.1])[0] for _ in range(6)]


BEFORE_THIS = {
    "accuracy": (
        (0.390625, 0.22763453086316712, 0.5827821358034996, 13),
        (0.6, 0.4432101843495105, 0.7301231489838229, 13),
        (0.21944444444444444, -0.1207991131636093, 0.4969895893540855, 12),
    ),
    "format_rate": (
        (0.734375, 0.5427012504438611, 0.8635487495561389, 13),
        (0.8285714285714286, 0.6387048547794038, 0.9308189547444058, 13),
        (0.10833333333333332, -0.17021320855315775, 0.35592749426744347, 12),
    ),
    "pass_at_2": (
        (0.582051282051282, 0.36843380775204215, 0.7737884144701801, 13),
        (0.8615384615384616, 0.6568868390683514, 0.9697798275983153, 13),
        (0.2972222222222222, -0.07442785491272158, 0.583951664436531, 12),
    ),
    "pass_at_4": (
        (0.7722222222222223, 0.4941379609636858, 0.972528705702981, 12),
        (0.9743589743589743, 0.7636559516921065, 1.0, 13),
        (0.21818181818181817, -0.15965104671265598, 0.5288818159434252, 11),
    ),
}


def test_a_model_tries_often_is_paired_with_a_file_and_not_asked_twice(place, capsys):
    tiny_model(max_position_embeddings=2048).save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    systems = {"model": {"model": "model"}, "elsewhere": {"answers": "elsewhere.jsonl"}}
    made = recipe(
        place,
        prompts="problems.jsonl",
        systems=systems,
        generate={"max_new_tokens": 5, "temperature": 1.0, "device": "cpu"},
        countdown={"samples": 4, "pass_at": [1, 4]},
    )
    assert evaluate(made, "--run", "out") == 0
    lines = [json.loads(line) for line in (place / "out" / "answers-model.jsonl").read_text().splitlines()]
    assert [len(line["completions"]) for line in lines] == [4] * len(PROBLEMS)
    found = json.loads((place / "out" / "evaluation.json").read_text())
    accuracy = found["metrics"][0]
    assert (accuracy["before"]["value"], accuracy["after"]["value"]) == (0.0, 0.5)
    # Five of the six problems are in the file, with their numbers in another order.
    assert accuracy["difference"]["value"] == 0.5
    assert (accuracy["difference"]["n"], accuracy["difference"]["missing"]) == (5, 1)
    out = capsys.readouterr().out
    assert "24 of 24 answers reached 5 tokens" in out and "elsewhere" in out
    assert evaluate(made, "--run", "out") == 0
    assert "answers reached" not in capsys.readouterr().out
    (place / "out" / "answers-model.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert evaluate(made, "--run", "out") == 2
    assert "answers-model.jsonl: this file is torn or was edited" in capsys.readouterr().err


def test_a_problem_in_two_orders_is_asked_once(place):
    tiny_model(max_position_embeddings=2048).save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    orders = [n for p in PROBLEMS[:2] for n in (p.numbers, p.numbers[::-1])]
    jsonl(place / "orders.jsonl", [{"nums": n, "target": sum(n)} for n in orders])
    generate = {"max_new_tokens": 2, "device": "cpu"}
    made = recipe(
        place, prompts="orders.jsonl", systems={"m": {"model": "model"}}, generate=generate, countdown={}
    )
    assert evaluate(made, "--run", "out") == 0
    lines = [json.loads(line) for line in (place / "out" / "answers-m.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["row-1", "row-3"]


ROWS = [
    {"nums": [3, 4], "target": 7, "completion": "<answer>3 + 4</answer> and\u2028more"},
    {"nums": [4, 3], "target": 7, "completion": "<answer>4 - 3</answer>"},
    {"nums": [1, 2, 3], "target": 6, "completion": "<answer>1 + 2 + 3</answer>"},
]


def as_csv(rows):
    cells = [[str(row["nums"]), str(row["target"]), row["completion"]] for row in rows]
    lines = [["nums", "target", "completion"], *cells]
    return "".join(",".join(f'"{cell}"' for cell in line) + "\r\n" for line in lines)


FILES = {
    "answers.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
    "answers.json": json.dumps(ROWS).encode(),
    "lines.json": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "answers.jsonl.gz": gzip.compress("\n\n".join(map(json.dumps, ROWS)).encode()),
    "answers.csv": as_csv(ROWS).encode("utf-8-sig"),
}


@pytest.mark.parametrize("name", [*FILES, "answers.parquet"])
def test_answers_are_read_from_every_type_of_file(name, tmp_path):
    file = tmp_path / name
    if name in FILES:
        file.write_bytes(FILES[name])
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
    rows = read_completions(file)
    prompts = prompts_of_completions(rows)
    found, others = matched_completions(prompts[::2], rows, file)
    assert [[response.text for response in responses] for responses in found] == [
        [ROWS[0]["completion"], ROWS[1]["completion"]],
        [ROWS[2]["completion"]],
    ]
    assert others == 0


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"nums": [1', "line 1 is not JSON"),
        ("a.jsonl.gz", b"\x1f\x8bno", "the gzip file is damaged"),
        ("a.jsonl", b"[1, 2]", "row 1: not an object"),
        ("a.yaml", b"x", "this file type is not one of"),
        ("nowhere.jsonl", None, "there is no such file"),
    ],
)
def test_answers_that_cannot_be_read(name, content, complaint, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read_completions(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"countdown": {"pass_at": [8]}}, "k: 8 is more than the completions per prompt; give k from 1 to 4"),
        ({"countdown": {"pass_at": []}}, "give each k once, from 1"),
        ({"countdown": {"sampels": 4}}, "unknown key countdown.sampels; did you mean 'countdown.samples'"),
        ({"systems": {"a": {"model": "x"}}}, "prompts is missing"),
        (
            {"systems": {"a": {"model": "x"}}, "prompts": "p", "countdown": {"samples": 4}},
            "temperature above 0",
        ),
        (
            {
                "systems": {"a": {"model": "x"}},
                "prompts": "p",
                "generate": {"temperature": 1},
                "countdown": {"samples": 4, "pass_at": [8]},
            },
            "pass_at asks for more than countdown.samples",
        ),
        ({"judge": {"name": "countdown"}}, "judge"),
    ],
)
def test_a_mistake_is_one_sentence(place, capsys, changes, complaint):
    assert evaluate(recipe(place, **changes), "--run", "out") == 2
    error = capsys.readouterr().err
    assert complaint in error and "Traceback" not in error
    assert not (place / "out").exists(), "nothing half-written"


def test_prompts_that_are_no_problems_are_named(place):
    from rich.console import Console

    from boresight.runs.evaluate import run_evaluation

    jsonl(place / "talk.jsonl", [{"prompt": "Hello."}])
    made = EvaluationRecipe.parse(
        {"prompts": "talk.jsonl", "systems": {"a": {"model": "starter"}}, "countdown": {}}
    )
    with pytest.raises(UserError, match=r"row row-1: .*not a Countdown problem"):
        run_evaluation(made, place / "out", Console(quiet=True))


def test_the_recipe_that_comes_along_asks_for_what_it_says():
    greedy = ["generate.temperature=0", "countdown.samples=1", "countdown.pass_at=[1]"]
    found = EvaluationRecipe.load(ROOT / "recipes" / "eval-countdown.yaml", greedy)
    assert found.countdown.samples == 1
    assert EvaluationRecipe.load(ROOT / "recipes" / "eval-countdown.yaml").countdown.pass_at == [1, 4, 16]


def test_solutions_here_are_solutions():
    assert all(score(solution(p), p.numbers, p.target).correct for p in PROBLEMS)
    assert countdown_prompt(PROBLEMS[0]).meta["target"] == PROBLEMS[0].target
