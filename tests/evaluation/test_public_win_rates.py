"""Win rates recomputed from public judge annotations equal the published ones."""

import gzip
import json
from collections import defaultdict

import numpy as np
import pytest

from boresight.stats.intervals import mean_interval, share_interval
from tests.evaluation.public_win_rates import PUBLISHED, UNPUBLISHED

pytestmark = pytest.mark.real_data

CASES = [(judge, model) for judge, models in PUBLISHED.items() for model in models]


@pytest.fixture(scope="module")
def annotations(real_data):
    """Outcomes by (judge, model): preference 1..2 is the second model's win share, 0 a tie."""
    file = real_data / "alpaca_eval" / "annotations.share.jsonl.gz"
    if not file.is_file():
        pytest.skip(f"no annotations at {file}")
    found = defaultdict(list)
    with gzip.open(file, "rt") as lines:
        for row in map(json.loads, lines):
            outcome = 0.5 if row["preference"] == 0 else row["preference"] - 1
            found[row["annotator"], row["model_2"]].append(outcome)
    return found


def test_every_annotated_model_is_compared_or_named_with_a_reason(annotations):
    assert {*CASES, *UNPUBLISHED} == set(annotations) and not {*CASES} & {*UNPUBLISHED}


def test_the_rows_that_two_judges_share_are_the_same(annotations):
    """Which is why the second has no score of its own to compare: its published one is 19.63."""
    model = "Mistral-7B-Instruct-v0.2"
    cot, plain = (annotations[f"alpaca_eval_{name}gpt4_turbo_fn", model] for name in ("cot_", ""))
    assert cot == plain


@pytest.mark.parametrize(("judge", "model"), CASES)
def test_within_half_a_point_of_the_published_and_bracketed(annotations, judge, model):
    outcomes = annotations[judge, model]
    published, n = PUBLISHED[judge][model]
    rate = share_interval(outcomes) if set(outcomes) <= {0, 0.5, 1} else mean_interval(outcomes)
    assert abs(rate.n - n) <= 1
    assert 100 * rate.value == pytest.approx(published, abs=0.5)
    assert rate.low <= published / 100 <= rate.high


def test_most_are_equal_to_the_last_digit_published(annotations):
    """What differs was annotated again after the stored leaderboard was written."""
    gaps = [
        abs(100 * np.mean(annotations[judge, model]) - PUBLISHED[judge][model][0]) for judge, model in CASES
    ]
    assert np.mean(np.array(gaps) < 1e-4) > 0.9
