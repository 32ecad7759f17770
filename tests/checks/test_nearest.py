"""Published settings near a model, by hand."""

from __future__ import annotations

import pytest

from boresight.checks.forecast.nearest import data_of, nearest_published


@pytest.mark.parametrize(
    ("parameters", "models"),
    [
        (134_500_000, ["SmolLM2-135M", "zephyr-220m"]),
        (2_000_000_000, ["SmolLM2-1.7B", "SmolLM2-360M"]),
        (None, ["SmolLM2-360M", "zephyr-220m"]),  # taken for 0.5B
    ],
)
def test_the_two_nearest_in_size(parameters, models):
    assert [p.model for p in nearest_published("dpo", parameters)] == models


def test_a_method_without_settings_has_those_of_its_kind_of_data():
    """SimPO learns from preferences, as DPO does; none of SFT or RLOO is among them."""
    sources = {p.source for p in nearest_published("simpo", 134_500_000, count=99)}
    assert "alignment-handbook" in sources and "CS224R 2026 starter, sum reduction" in sources
    assert "CS224R 2026 starter, Countdown" not in sources and "CS224R 2026 starter, k = 8" not in sources


def test_kinds_of_data():
    assert [data_of(name) for name in ("dpo", "sft", "rloo", "xpo")] == [
        "preference",
        "demonstration",
        "prompt",
        "prompt",
    ]
