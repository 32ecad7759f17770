"""Several runs on one page: only what differs, paired verdicts, overlaid curves, the same prompts."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml

from boresight.core.errors import UserError
from boresight.reports.compare import (
    Comparison,
    comparison_table,
    config_differences,
    metrics_of_two,
    render_comparison,
    shared_metrics,
    shared_prompts,
    verdicts,
    write_comparison,
)
from boresight.reports.figures import overlaid
from boresight.reports.headline import comparison_headline
from boresight.reports.read_run import Metric, RunData, RunSample, read_run
from boresight.stats.intervals import share_interval
from boresight.stats.paired import SamePrompts
from tests.reports.fake_run import ATTACK, write_fake_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs that differ in beta, in the commit and in their start, and answer the same prompts."""
    root = tmp_path_factory.mktemp("compare")
    a, b = (write_fake_run(root / name, steps=24, hostile=True) for name in ("a", "b"))
    recipe = yaml.safe_load((b / "config.yaml").read_text())
    recipe["method"]["beta"] = 0.5
    (b / "config.yaml").write_text(yaml.safe_dump(recipe))
    for run, changed in ((a, {"started": "2026-11-29"}), (b, {"started": "2026-11-30", "commit": "0123abc"})):
        machine = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps(machine | changed))
    return [a, b]


@pytest.fixture(scope="module")
def runs(folders):
    return [read_run(folder) for folder in folders]


def _answered(name, outcomes):
    """A run whose i-th prompt has one check, met or not."""
    samples = [
        RunSample(f"p{i}", [{"role": "user", "content": "?"}], ["b", "a"], [{}, {"ok": ok}])
        for i, ok in enumerate(outcomes)
    ]
    return RunData(name=name, folder=None, finished=True, samples=samples)


def test_only_what_differs_is_listed(runs):
    """The time at which they began always differs, and is omitted."""
    assert len({run.environment["started"] for run in runs}) == 2
    assert [(d.key, d.values) for d in config_differences(runs)] == [
        ("method.beta", ["0.1", "0.5"]),
        ("environment.commit", [ATTACK, "0123abc"]),
    ]


def test_a_setting_that_one_run_lacks_is_a_difference():
    a = RunData(name="a", folder=None, finished=True, config={"optim": {"lr": 1e-4, "clip": None}})
    b = replace(a, config={"optim": {"lr": 1e-4}})
    assert [(d.key, d.values) for d in config_differences([a, b])] == [("optim.clip", ["none", ""])]


def test_verdicts_are_paired_by_prompt_and_adjusted():
    """b wins 10 of 20 prompts and loses none: exact p = 2/1024, doubled by Holm for two comparisons.

    Limits: 11/22 - 1/22 ± 1.96 √((12/22 - (10/22)²)/22) = .4545 ± .2432.
    """
    a = _answered("a", [False] * 10 + [True] * 10)
    b = _answered("b", [True] * 20)
    assert verdicts([a, b]) == ["All checks met: b beats a by 50.0 points [21.1, 69.8], n = 20."]
    to_b, to_itself = verdicts([a, b, a])
    assert to_b.endswith("n = 20; p = 0.0039 after Holm's adjustment.")
    assert "do not differ significantly" in to_itself and "p = 1 after" in to_itself
    assert verdicts([a, RunData(name="c", folder=None, finished=True)]) == []


def test_answers_to_other_prompts_with_the_same_ids_are_not_paired():
    """Ids that are row numbers of two files of prompts."""
    a, b = _answered("a", [False] * 10), _answered("b", [True] * 10)
    other = [replace(s, prompt=[{"role": "user", "content": s.id}]) for s in b.samples]
    assert verdicts([a, b]) != [] and verdicts([a, replace(b, samples=other)]) == []


def test_of_equal_prompts_the_first_counts():
    same = SamePrompts(answers={"p1": "p0", "p3": "p2"})
    a, b = (replace(_answered(n, [ok] * 4), same_prompts=same) for n, ok in (("a", False), ("b", True)))
    assert "+100.0 points [-34.9, 100.0], n = 2;" in verdicts([a, b])[0]


def test_values_that_differ_are_in_words_and_hashes_short():
    """The third digit after the one that words keep: then both values are written in full."""
    settings = {"optim": {"lr": 1e-4, "clip": None}, "train": {"seed": 20260101, "steps": 1500}}
    a = RunData("a", None, True, config=settings, data={"train": {"sha256": "a" * 64}})
    changed = {"optim": {"lr": 1.00000001e-4, "clip": 1.0}, "train": {"seed": 1, "steps": 2500}, "model": {}}
    b = replace(a, config=changed, data={"train": {"sha256": "a" * 12 + "b" * 52}})
    found = {d.key: d.values for d in config_differences([a, b])}
    assert found["optim.lr"] == ["0.0001", "0.000100000001"]
    assert found["optim.clip"] == ["none", "1"] and found["train.steps"] == ["1,500", "2,500"]
    assert found["train.seed"] == ["20260101", "1"]
    assert found["data.train.sha256"] == ["a" * 64, "a" * 12 + "b" * 52]
    c = replace(a, data={"train": {"sha256": "c" * 64}})
    assert [d.values for d in config_differences([a, c])] == [["a" * 12, "c" * 12]]


def test_settings_stand_section_by_section():
    a = RunData("a", None, True, config={"method": {"beta": 1}, "optim": {"lr": 1}})
    b = replace(a, config={"method": {"alpha": 1}, "optim": {"lr": 2}})
    assert [d.key for d in config_differences([a, b])] == ["method.beta", "method.alpha", "optim.lr"]


def test_the_headline_is_the_outcome_of_every_later_run():
    """b wins 10 of 20 prompts from a, c wins 3, d has other prompts: one adjusted p below 5 %."""
    runs = [
        _checked("a", [False] * 10 + [True] * 10),
        _checked("b", [True] * 20),
        _checked("c", [False] * 7 + [True] * 13),
        replace(_checked("d", [True] * 20), config={"evaluate": {"prompts": "other.jsonl"}}),
    ]
    assert comparison_headline(runs) == (
        "Answers that are right: b is better than a; c is not significantly different from a; "
        "d is not compared."
    )
    twice = [runs[0], runs[1], replace(runs[1], name="e")]
    assert comparison_headline(twice) == "Answers that are right: b and e are better than a."
    assert comparison_headline([runs[1], runs[0]]) == "Answers that are right: a is worse than b."
    assert comparison_headline([runs[0], runs[3]]) == ""
    without = [replace(run, samples=[]) for run in (runs[0], runs[3])]
    assert "share no prompts and no rows" in render_comparison(without)


def test_metrics_stand_side_by_side_with_gaps(runs):
    lone = replace(runs[1], metrics=runs[1].metrics[1:])
    found = shared_metrics([runs[0], lone])
    assert len(found) == 5
    assert found[0].cells[1] is None and found[1].cells[1] is not None
    assert [mark.role for mark in found[1].drawing.marks] == ["run-1", "run-2"]


def _checked(name, outcomes):
    """A run whose metric `ok` is a check of its answers to the same prompts."""
    metric = Metric("ok", "answers that are right", None, share_interval(outcomes), None, "share")
    recipe = {"evaluate": {"prompts": "prompts.jsonl"}}
    return replace(_answered(name, outcomes), metrics=[metric], config=recipe)


def test_every_later_run_has_a_paired_difference_to_the_first():
    """b wins 10 of 20 prompts from a, c wins 3: b is better by every p; c is open once p is adjusted for two.

    The table beside the page has the same differences in columns of their own.
    """
    runs = [
        _checked("a", [False] * 10 + [True] * 10),
        _checked("b", [True] * 20),
        _checked("c", [False] * 7 + [True] * 13),
    ]
    (metric,) = shared_metrics(runs)
    b, c = metric.differences
    assert (b.cell.value, b.verdict) == ("+50.0 points", "better") and float(b.p) < 0.01
    assert (c.cell.value, c.verdict) == ("+15.0 points", "not significant")
    table = comparison_table(runs)
    assert table.columns == ["a", "b", "c", "b - a", "c - a"]
    assert [round(interval.value, 2) for interval in table.rows[0].intervals] == [0.5, 1.0, 0.65, 0.5, 0.15]
    alone = shared_metrics(runs[:2])[0].differences
    assert [(found.verdict, found.p) for found in alone] == [("better", "")]
    elsewhere = replace(runs[1], config={"evaluate": {"prompts": "other.jsonl"}})
    assert shared_metrics([runs[0], elsewhere])[0].differences == [None]


def test_every_chart_has_a_curve_of_each_run(runs):
    for figure in overlaid(runs):
        assert [entry["label"] for entry in figure.legend] == ["a", "b"]


def test_charts_of_several_runs_are_titled_by_labels_and_state_their_rows(runs):
    """Both runs have 120 held-out rows; lengths and gradient norms are of training alone."""
    readings = {figure.title: figure.reading for figure in overlaid(runs)}
    assert {"Log-ratio to the reference: chosen", "Distance from the reference: KL"} <= readings.keys()
    assert not [title for title in readings if "logratio" in title or "kl" in title]
    assert readings["Accuracy"] == "Held out, n = 120 rows. Bars are 95 % intervals."
    assert readings["Loss"] == "Held out, n = 120 rows."
    assert readings["Answer length: chosen"] == "Training batches."
    assert readings["Gradient norm"] == readings["Learning rate"] == "", "24 steps are not averaged"
    noisy = [{"step": step, "split": "train", "grad_norm": 1.0 + step % 2} for step in range(1, 81)]
    (figure,) = overlaid(
        [RunData("without", None, True), *(RunData(name, None, True, train=noisy) for name in ("a", "b"))]
    )
    assert figure.reading == "Thin lines are single steps, thick ones their moving average."


def test_the_caption_explains_differences_only_where_there_are_some(runs):
    explained = "Green is better, red worse"
    checked = [_checked("a", [False] * 10 + [True] * 10), _checked("b", [True] * 20)]
    assert explained in render_comparison(checked)
    elsewhere = replace(checked[1], config={"evaluate": {"prompts": "other.jsonl"}})
    assert explained not in render_comparison([checked[0], elsewhere])


def test_prompts_are_matched_by_id_and_text(runs):
    changed = replace(runs[1], samples=[replace(runs[1].samples[0], prompt=[]), *runs[1].samples[1:-1]])
    found = shared_prompts([runs[0], changed])
    assert [row["id"] for row in found] == [sample.id for sample in runs[0].samples[1:-1]]
    assert found[0]["answers"] == [run.samples[1].answers[-1] for run in runs]


def test_the_page_is_one_file_with_planted_markup_as_text(folders, tmp_path):
    html = write_comparison(folders, tmp_path / "compare.html").page.read_text()
    assert "<script>alert" not in html and "<img src=x" not in html
    assert html.count("<h2>") == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".html", ".md", ".csv", ".tex"}


def test_one_run_is_no_comparison(folders, tmp_path):
    with pytest.raises(UserError, match="at least two run folders"):
        write_comparison(folders[:1], tmp_path / "compare.html")


def test_runs_of_one_name_are_told_apart_by_their_folder(folders, tmp_path):
    other = shutil.copytree(folders[1], tmp_path / folders[0].name)
    html = write_comparison([folders[0], other], tmp_path / "compare.html").page.read_text()
    assert str(folders[0]) in html and str(other) in html


def test_a_run_is_not_compared_with_itself(folders, tmp_path):
    with pytest.raises(UserError, match="is given twice; compare it with another run"):
        write_comparison([*folders, folders[0] / "." / ".." / folders[0].name], tmp_path / "compare.html")


@pytest.mark.parametrize("name", ["page.html", "page.md", "page.csv", "page.tex"])
def test_files_that_boresight_did_not_write_are_not_replaced(folders, tmp_path, name):
    page = tmp_path / "page.html"
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"--out: .*{name}.* give another name"):
        write_comparison(folders, page)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
    (tmp_path / name).unlink()
    for _ in range(2):
        assert write_comparison(folders, page).page == page


def test_a_comparison_is_printed_in_80_columns(tmp_path):
    """Three runs, one of a long name. Only the path of the page may be longer: a broken path is none."""
    page = tmp_path / ("long" * 30) / "compare.html"
    runs = [read_run(write_fake_run(tmp_path / name, steps=24)) for name in ("a", "b")]
    runs[1].config["method"]["beta"] = 0.5
    named = [*runs, replace(runs[1], name="a-run-with-a-name-of-its-own-that-is-long")]
    printed = str(Comparison(named, verdicts(named), config_differences(named), page)).split("\n")
    assert printed[-1] == f"page: {page}" and max(map(len, printed[:-1])) <= 80
    text = "\n".join(printed)
    assert "method.beta: 0.1 | 0.5 | 0.5" in text
    for run in named[1:]:
        assert f"{run.name} against {runs[0].name}: paired differences" in " ".join(text.split())
    assert "…" not in text, "no cell is cut"


def test_a_run_that_the_guard_stopped_is_named_in_the_terminal_and_on_the_page(runs, tmp_path):
    stopped = [replace(runs[0], kept_step=0), replace(runs[1], kept_step=3)]
    first, second = (
        f"{run.name}: The guard stopped the run at step 24; the model is {which}."
        for run, which in zip(runs, ("the start model", "that of step 3"), strict=True)
    )
    for named, said in ((stopped, [first, second]), ([runs[0], stopped[1]], [second]), (runs, [])):
        printed = " ".join(str(Comparison(named, [], [], tmp_path / "page.html")).split())
        for text in (printed, render_comparison(named)):
            assert [text.count(sentence) for sentence in said] == [1] * len(said)
            assert text.count("The guard stopped") == len(said)


def test_two_runs_in_the_terminal_have_their_values_and_the_paired_difference():
    """b wins 10 of 20 prompts from a; c wins 3, which is not significant for two: it has no color."""
    checked = [
        _checked("a", [False] * 10 + [True] * 10),
        _checked("b", [True] * 20),
        _checked("c", [False] * 7 + [True] * 13),
    ]
    (b,), (c,) = metrics_of_two(checked, 0), metrics_of_two(checked, 1)
    assert [round(b.before.value, 2), round(b.after.value, 2), round(b.difference.value, 2)] == [0.5, 1, 0.5]
    assert [round(c.before.value, 2), round(c.after.value, 2)] == [0.5, 0.65]
    assert (b.better, c.better) == ("higher", "neither")
    lone = replace(checked[1], metrics=[replace(checked[1].metrics[0], name="other")])
    first, other = metrics_of_two([checked[0], lone], 0)
    assert (first.after, first.difference, other.before, other.difference) == (None, None, None, None)


def test_metrics_of_different_units_have_rows_of_their_own():
    """A margin in nats and one in nats per token share a name; no value stands under the unit of another."""
    margins = [
        Metric("margin", "margin of chosen over rejected", None, share_interval([1.0, 0.0]), None, unit=unit)
        for unit in ("nats", "nats per token")
    ]
    a, b = (RunData(name, None, True, metrics=[metric]) for name, metric in zip("ab", margins, strict=True))
    table = comparison_table([a, b])
    assert [(row.unit, [interval is not None for interval in row.intervals]) for row in table.rows] == [
        ("nats", [True, False, False]),
        ("nats per token", [False, True, False]),
    ]
    assert len(shared_metrics([a, b])) == 2
    assert [(m.unit, m.before is None, m.after is None) for m in metrics_of_two([a, b], 0)] == [
        ("nats", False, True),
        ("nats per token", True, False),
    ]
