"""Numbers of several runs on the same held-out rows are paired by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boresight.reports.compare import verdicts
from boresight.reports.read_run import Metric, RunData, RunSample, read_run
from boresight.reports.same_rows import differences_by_row, paired_with_first
from boresight.stats.paired import SamePrompts

FILE = {"eval": {"sha256": "5e1f"}}
MARGIN = Metric("margin", "margin of chosen over rejected", None, None, None, unit="nats")
ACCURACY = Metric("accuracy", "held-out pairs ranked right", None, None, None, unit="share")


def run(name, margins, metric=MARGIN, data=FILE, **more):
    rows = {metric.name: {f"r{i}": float(value) for i, value in enumerate(margins)}}
    return RunData(name, Path(name), True, metrics=[metric], data=data, by_row=rows, **more)


def test_margins_are_paired_by_hand():
    """Rows are far apart, 1 to 31 nats, and b adds 1, 2, 3: mean 2, standard error 1/√3, t(2) = 4.302653.

    2 ± 2.484 holds zero. Three more rows of the same differences make it 2 ± 2.570582 · √(4/5 / 6) = 0.939.
    """
    a, b = run("a", [1, 11, 31]), run("b", [2, 13, 34])
    (said,) = differences_by_row([a, b])
    assert said.startswith(
        "Margin of chosen over rejected: b against a +2.0 nats [-0.48, 4.5], n = 3, paired by row: "
    )
    assert "not significant" in said
    a, b = run("a", [1, 11, 31] * 2), run("b", [2, 13, 34] * 2)
    assert differences_by_row([a, b]) == [
        "Margin of chosen over rejected: b against a +2.0 nats [1.1, 2.9], n = 6, paired by row."
    ]


def test_rows_of_one_prompt_are_one_unit():
    """The six rows above in pairs of one prompt: the differences 1, 2 and 3 of three prompts."""
    shared = SamePrompts(rows={f"r{i}": f"r{i - 3}" for i in (3, 4, 5)})
    a, b = (run(n, v * 2, same_prompts=shared) for n, v in (("a", [1, 11, 31]), ("b", [2, 13, 34])))
    (said,) = differences_by_row([a, b])
    assert "b against a +2.0 nats [-0.48, 4.5], n = 3, paired by prompt: " in said
    (said,) = differences_by_row([a, replace(b, same_prompts=None)])  # of an earlier version
    assert "n = 6, paired by row" in said


def test_different_rewards_are_not_compared_and_that_is_said():
    """With ten times the weight every reward is ten times as large, which makes no model better."""
    reward = Metric("reward", "reward of greedy answers to held-out prompts", None, None, None, unit="reward")
    a, b = (
        run(
            name,
            [weight, 2 * weight, weight],
            reward,
            config={"reward": [{"function": "math", "weight": weight}]},
        )
        for name, weight in (("a", 1.0), ("b", 10.0))
    )
    (said,) = differences_by_row([a, b])
    assert said.startswith("Rewards of b and a are of different functions, options or weights")
    assert paired_with_first([a, b], reward) == [None]
    assert paired_with_first([a, replace(b, config=a.config)], reward) != [None]


def test_shares_that_all_agree_are_not_certainty():
    (said,) = differences_by_row([run("a", [1] * 20, ACCURACY), run("b", [1] * 20, ACCURACY)])
    assert "b against a 0.0 points [-" in said and "not significant" in said


def test_rows_are_matched_by_id():
    a = run("a", [0, 5, 9])
    b = replace(run("b", []), by_row={"margin": {"r2": 10.0, "other": 0.0, "r1": 6.0}})
    (said,) = differences_by_row([a, b])
    assert "+1.0 nats [1.0, 1.0], n = 2" in said


@pytest.mark.parametrize(
    "other",
    [
        run("b", [2, 13, 34], metric=replace(MARGIN, unit="nats per token")),
        run("b", [2, 13, 34], metric=ACCURACY),
        run("b", [2]),
    ],
    ids=["another unit", "another metric", "one row"],
)
def test_what_does_not_compare_is_not_compared(other):
    assert differences_by_row([run("a", [1, 11, 31]), other]) == []


@pytest.mark.parametrize("data", [{"eval": {"sha256": "0000"}}, {"eval": None}])
def test_rows_of_another_file_are_not_paired_and_that_is_said(data):
    (said,) = differences_by_row([run("a", [1, 11, 31]), run("b", [2, 13, 34], data=data)])
    assert said.startswith("Held-out numbers of b and a are of different files and are not paired")


def test_rewards_belong_to_the_prompts_they_were_measured_on():
    reward = replace(MARGIN, name="reward", unit="reward")
    a, b = (run(name, [0, 1, 1], reward, config={"evaluate": {"prompts": name}}) for name in "ab")
    assert "different files" in differences_by_row([a, b])[0]
    assert "paired by row" in differences_by_row([a, replace(b, config=a.config)])[0]


def test_several_runs_share_the_error_of_one_test_per_metric():
    """Six rows: t(5) = 2 / √(4/5 / 6) = 5.48, p = 0.00277, which Holm doubles for two comparisons."""
    a, b = run("a", [1, 11, 31] * 2), run("b", [2, 13, 34] * 2)
    to_b, to_itself = verdicts([a, b, replace(a, name="c")])
    assert to_b.endswith("; p = 0.0055 after Holm's adjustment.")
    assert "c and a are equal on all 6 rows; p = 1 after Holm's adjustment" in to_itself


def test_values_that_are_missing_are_not_paired():
    """Two rows are known on both sides, of four; with one there is no interval."""
    nan = float("nan")
    a, b = run("a", [1, 2, nan, nan]), run("b", [2, 4, 3, nan])
    (said,) = differences_by_row([a, b])
    assert "+1.5 nats" in said and "n = 2, paired by row" in said
    assert differences_by_row([a, run("b", [2, nan, 3, nan])]) == []


def test_numbers_by_row_are_read_from_the_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("method: {name: dpo}")
    (tmp_path / "end.json").write_text(
        '{"numbers": {"margin": {"a": 1.5, "b": null, "c": "x", "d": true}, "odd": 3}}'
    )
    found = read_run(tmp_path).by_row["margin"]
    assert found.keys() == {"a", "b"} and found["a"] == 1.5 and found["b"] != found["b"]
    (tmp_path / "end.json").write_text("[]")
    assert read_run(tmp_path).by_row == {}


def test_a_metric_of_which_only_the_mean_is_stored_is_named():
    lengths = Metric("answer_tokens", "length of sampled answers", None, None, None, unit="tokens")
    a, b = (replace(found, metrics=[MARGIN, lengths]) for found in (run("a", [1, 2, 3]), run("b", [2, 3, 4])))
    alone = "Without a difference, since only the mean of a run is stored: length of sampled answers."
    assert differences_by_row([a, b])[1:] == [alone]
    assert alone not in differences_by_row([a, run("b", [2, 3, 4])])


def test_lengths_of_answers_are_paired_by_prompt_whatever_was_cut():
    """`evaluation.json` has them by prompt: 9 - 4, 8 - 6 and 7 - 5 tokens, mean 3, standard error 1."""
    a, b = (answered(name, lengths) for name, lengths in (("a", [4, 6, 5]), ("b", [9, 8, 7])))
    (said,) = differences_by_row([a, b])
    assert said.startswith("Length of sampled answers: b against a +3.0 tokens [-1.3, 7.3], n = 3, paired by")
    cut = replace(b, samples=[RunSample("r0", [], ["x", "y"], [{}, {}], cut_at=[None, 9])])
    assert (
        "Length of sampled answers, of which the token limit cut some: b" in differences_by_row([a, cut])[0]
    )
    elsewhere = replace(b, config={"evaluate": {"prompts": "other.jsonl"}})
    assert "different files" in differences_by_row([a, elsewhere])[0]


def answered(name, lengths):
    label = f"length of sampled answers ({sum(lengths)} of 99 cut before, 3 after)"
    return run(name, lengths, Metric("answer_tokens", label, None, None, None, unit="tokens"))
