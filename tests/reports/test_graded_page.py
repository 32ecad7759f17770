"""The page of an evaluation by a reward: its headline, what it filters, and that model text stays text."""

from __future__ import annotations

import csv
import json
import re

import pytest

from boresight.core.schema import Prompt
from boresight.evaluation.graded.comparison import RewardComparison
from boresight.evaluation.graded.grading import GradedResponse, GradedSystem
from boresight.evaluation.response import Response
from boresight.reports.evaluations.graded import (
    figure_over_k,
    render_graded,
    systems_table,
    write_graded_page,
)
from boresight.tasks.reading import AnswerReading
from tests.reports.fake_run import ATTACK


def system(name, right, n=40):
    """`right` of n prompts are always solved, one has no score, the others in one of two samples."""

    def one(i, j):
        reward = None if i == n - 1 else float(i < right or j == 0)
        rules = (f"rule {ATTACK}",) if i == 0 else ()
        reading = AnswerReading(f"answer {reward} {ATTACK}", True, rules)
        return GradedResponse(Response(f"text {ATTACK}", j == 1), reward, {"own": reward}, reading, float(j))

    asked = tuple(Prompt([{"role": "user", "content": f"q{i} {ATTACK}"}], f"p{i}") for i in range(n))
    return GradedSystem(name, asked, tuple((one(i, 0), one(i, 1)) for i in range(n)))


def found(*systems):
    return RewardComparison(systems, [1, 2], 1.0, {})


def headline(html):
    return re.search(r"<h1>(.*?)</h1>", html)[1]


@pytest.mark.parametrize(
    ("right", "says"),
    [
        ((0, 30), "new beats old"),
        ((30, 0), "old beats new"),
        ((5, 5), "new and old do not differ significantly"),
        ((5,), "old alone"),
        ((0, 30, 20), "3 systems compared"),
    ],
)
def test_the_headline(right, says):
    names = ["old", "new", "third"]
    assert headline(render_graded(found(*map(system, names, right)))) == says


def test_text_of_models_stays_text():
    html = render_graded(found(system(f"old {ATTACK}", 0), system("new", 30)))
    assert ATTACK not in html
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', html, re.DOTALL)[1])
    assert payload["samples"][0]["answers"] == [f"text {ATTACK}"] * 2


def test_prompts_are_filtered_by_who_is_better():
    html = render_graded(found(system("old", 0), system("new", 30)))
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', html, re.DOTALL)[1])
    tags = [sample["tags"][0] for sample in payload["samples"]]
    assert (tags.count("better"), tags.count("alike"), tags.count("missing")) == (30, 9, 1)


def test_without_a_threshold_no_answer_of_a_single_system_is_right():
    """A reward of -0.3 is not "never right", and 1.2 not "always right"."""
    rewards = (1.2, -0.3, None)
    asked = tuple(Prompt([{"role": "user", "content": f"q{i}"}], f"p{i}") for i in range(3))
    by_prompt = tuple((GradedResponse(Response("text"), reward, {}, None, None),) for reward in rewards)
    alone = RewardComparison([GradedSystem("one", asked, by_prompt)], [1], None, {})
    html = render_graded(alone)
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', html, re.DOTALL)[1])
    assert payload["kinds"] == [["No score", "missing"]]
    assert [sample["tags"] for sample in payload["samples"]] == [[], [], ["missing"]]
    assert ["outcome" in sample for sample in payload["samples"]] == [False, False, True]


def test_curves_over_k():
    curves = {
        line.label: (line.x, line.y)
        for line in figure_over_k(found(system("old", 0), system("new", 30))).plot.lines
    }
    assert set(curves) == {
        f"{n}, {kind}" for n in ("old", "new") for kind in ("pass@k", "maj@k", "best of k")
    }
    assert curves["old, pass@k"] == ([1, 2], [0.5, 1.0]) and curves["old, best of k"] == ([1, 2], [0.5, 0.0])


def test_tables_beside_the_page_have_every_metric(tmp_path):
    shown = found(system("old", 0), system("new", 30))
    write_graded_page(tmp_path / "report.html", shown)
    with (tmp_path / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["column"] for row in rows} == {"old", "new", "new - old"}
    assert {row["metric"] for row in rows} == {metric.label for metric in shown.metrics}
    assert systems_table(found(system("old", 0))).columns == ["old"]
