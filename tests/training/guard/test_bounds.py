"""What the guard reads off two evaluations, worked by hand, and how often it stops runs of either kind."""

from __future__ import annotations

import math

import numpy as np
import pytest

from boresight.config.guard import GuardSection
from boresight.stats.intervals import Interval
from boresight.stats.paired import SamePrompts
from boresight.training.guard.bounds import BOUNDS, Reading, readings
from boresight.training.guard.guard import guard_stopped

OFF = dict.fromkeys(GuardSection.model_fields)


def by_id(*values):
    return {str(i): float(value) for i, value in enumerate(values)}


def read(field, bound, before, now):
    """The reading of one bound alone; None where it does not apply."""
    found = readings(GuardSection(**{**OFF, field: bound}), before, now)
    return found[0] if found else None


def test_kl_by_hand():
    """0.1, 0.2, 0.3, 0.4: mean 0.25, s 0.1291, t(3) 3.182, so 0.25 ± 0.2054."""
    reading = read("kl", 0.04, {}, {"kl_per_token": by_id(0.1, 0.2, 0.3, 0.4)})
    assert reading.change.low == pytest.approx(0.0446, abs=1e-4)
    assert reading.exceeded and not reading.inside
    assert str(reading) == (
        "KL to the start model on held-out answers: 0.25 nats per token [0.045, 0.46] of 4, more than "
        "0.040 nats per token (train.guard.kl)"
    )
    beyond_by_less_than_its_interval = read("kl", 0.1, {}, {"kl_per_token": by_id(0.1, 0.2, 0.3, 0.4)})
    assert not beyond_by_less_than_its_interval.exceeded and not beyond_by_less_than_its_interval.inside


def test_rows_of_one_prompt_are_one_unit():
    """Four prompts, each as two rows of the same value, have the interval of four values."""
    bounds = GuardSection(**{**OFF, "kl": 0.04, "ending_fall": 0.1})
    values, ends = by_id(0.1, 0.2, 0.3, 0.4), (by_id(1, 1, 1, 0), by_id(1, 0, 0, 0))
    once = readings(bounds, {"stopped_share": ends[0]}, {"stopped_share": ends[1], "kl_per_token": values})

    def twice(side):
        return side | {f"{id}b": value for id, value in side.items()}

    repeated = {f"{id}b": id for id in values}
    before, now = {"stopped_share": twice(ends[0])}, {"stopped_share": twice(ends[1])}
    now["kl_per_token"] = twice(values)
    found = readings(bounds, before, now, SamePrompts(repeated, repeated))
    assert found == once and [reading.change.n for reading in found] == [4, 4]
    assert [reading.change.n for reading in readings(bounds, before, now)] == [8, 8]
    assert (
        readings(bounds, before, now, SamePrompts(dict.fromkeys(twice(values), "0"), repeated)) == found[1:]
    )


def test_the_fall_of_chosen_answers_is_per_token_of_their_own_length():
    """-20 to -24 over 10 tokens loses 0.4; -30 to -33 over 15 loses 0.2."""
    before = {"chosen_logps": by_id(-20, -30)}
    now = {"chosen_logps": by_id(-24, -33), "chosen_len": by_id(10, 15)}
    assert read("likelihood_fall", 0.1, before, now).change.value == pytest.approx(0.3)


def test_of_labeled_answers_only_the_good_ones_must_not_fall():
    """Rows of bad answers have no value among the chosen ones; with bad answers alone there is no reading."""
    nothing = [math.nan, math.nan]
    before = {"chosen_logps": by_id(-20, -30, *nothing)}
    now = {"chosen_logps": by_id(-24, -33, *nothing), "chosen_len": by_id(10, 15, *nothing)}
    assert read("likelihood_fall", 0.1, before, now).change.value == pytest.approx(0.3)
    bad = {"chosen_logps": by_id(*nothing), "chosen_len": by_id(*nothing)}
    assert read("likelihood_fall", 0.1, bad, bad) is None


def test_demonstrations_lose_what_their_negative_log_likelihood_gains():
    reading = read("likelihood_fall", 0.1, {"nll_per_token": by_id(1, 2)}, {"nll_per_token": by_id(1.5, 2.7)})
    assert reading.change.value == pytest.approx(0.6)


@pytest.mark.parametrize("tokens", [(30, 90), (10 / 3, 10)])
def test_length_is_a_factor_in_either_direction(tokens):
    """10 to 30 and 30 to 90 are three times; so are 10 to 3.33 and 30 to 10."""
    pairs = {"chosen_logps": by_id(0, 0), "chosen_len": by_id(1, 1)}
    before = {"answer_len": by_id(10, 30), "stopped_share": by_id(1, 1)} | pairs
    now = {"answer_len": by_id(*tokens)} | pairs
    reading = read("length", 2.0, before, now)
    assert reading.change.value == pytest.approx(3.0) and reading.exceeded


def test_length_is_not_read_where_answers_do_not_end_yet_or_nothing_was_given():
    pairs = {"chosen_logps": by_id(0, 0), "chosen_len": by_id(1, 1)}
    endless = {"answer_len": by_id(64, 64), "stopped_share": by_id(0, 0)} | pairs
    assert read("length", 2.0, endless, {"answer_len": by_id(10, 10)} | pairs) is None
    ends = {"answer_len": by_id(64, 64), "stopped_share": by_id(1, 1)}
    assert read("length", 2.0, ends, {"answer_len": by_id(10, 10)}) is None


def test_shares_fall_and_rise_by_prompt():
    """8 of 8 end, then none: a fall of 1. None loops, then all do: a rise of 1, unless the start looped."""
    all_of, none_of = by_id(*[1] * 8), by_id(*[0] * 8)
    ending = read("ending_fall", 0.15, {"stopped_share": all_of}, {"stopped_share": none_of})
    assert ending.change.value == 1 and ending.exceeded
    loops = read("loops_rise", 0.15, {"repetition_share": none_of}, {"repetition_share": all_of})
    assert loops.change.value == 1 and loops.exceeded
    assert read("loops_rise", 0.15, {"repetition_share": all_of}, {"repetition_share": all_of}) is None
    alike = read("distinct_fall", 0.25, {"distinct_share": all_of}, {"distinct_share": none_of})
    assert alike.change.value == 1 and alike.exceeded


def test_a_reward_that_is_missing_is_no_zero():
    """1 to 1 and a missing one: no fall."""
    reading = read(
        "reward_fall", 0.05, {"reward": by_id(1, 1, 1)}, {"reward": {**by_id(1, 1), "2": math.nan}}
    )
    assert reading.change.value == 0 and reading.change.n == 2 and reading.inside
    assert read("reward_fall", 0.05, {"reward": by_id(1)}, {"reward": by_id(math.nan)}) is None


def test_every_bound_has_a_field_and_can_be_turned_off():
    assert [bound.field for bound in BOUNDS] == list(GuardSection.model_fields)
    everything = {
        name: by_id(1, 1)
        for name in (
            *("kl_per_token", "chosen_logps", "chosen_len", "answer_len"),
            *("stopped_share", "distinct_share", "reward"),
        )
    } | {"repetition_share": by_id(0, 0)}
    assert [r.field for r in readings(GuardSection(), everything, everything)] == list(OFF)
    assert readings(GuardSection(**OFF), everything, everything) == []


LOOKS, PROMPTS, ROWS = 8, 32, 16


def simulated(rng, *, kl, loops, ends):
    """One evaluation: KLs with the spread between rows that a run has, and shares of answers."""
    return {
        "kl_per_token": by_id(*(kl * rng.lognormal(-0.18, 0.6, ROWS))),
        "repetition_share": by_id(*(rng.random(PROMPTS) < loops)),
        "stopped_share": by_id(*(rng.random(PROMPTS) < ends)),
    }


def stops(seed, **at):
    rng = np.random.default_rng(seed)
    start = simulated(rng, kl=0.0, loops=0.05, ends=0.95)
    found = [readings(GuardSection(), start, simulated(rng, **at)) for _ in range(LOOKS)]
    return any(reading.exceeded for look in found for reading in look)


def test_healthy_runs_are_not_stopped_and_collapses_are():
    """Of 120 and 20 runs of eight evaluations; the shares of healthy answers are drawn anew at every look."""
    healthy = sum(stops(seed, kl=0.06, loops=0.08, ends=0.93) for seed in range(120))
    assert healthy <= 1
    assert all(stops(seed, kl=0.5, loops=0.08, ends=0.93) for seed in range(20))
    assert all(stops(seed, kl=0.06, loops=0.6, ends=0.93) for seed in range(20))
    assert all(stops(seed, kl=0.06, loops=0.08, ends=0.4) for seed in range(20))


@pytest.mark.parametrize("field", GuardSection.model_fields)
def test_a_stop_by_length_names_the_setting_for_runs_that_want_another_length(tmp_path, field):
    """Answers that get shorter may be what the run is for; every stop has the command that continues."""
    change = Interval(3.0, 2.5, 3.5, 16)
    found = guard_stopped(tmp_path, 4, [Reading(field, "what", "factor", change, 2.0)])
    assert f"or continue: boresight train {tmp_path} train.guard=null" in found.fix
    assert ("train with train.guard.length=null" in found.fix) == (field == "length")
