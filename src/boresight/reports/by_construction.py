"""Metrics whose value before training is known without a measurement, because the start model is its own
reference."""

from __future__ import annotations

from collections.abc import Sequence

from boresight.reports.read_run import Metric

AT_THE_REFERENCE = {"margin": 0.0, "accuracy": 0.5, "kl_per_token": 0.0}
"""Values of metrics for a policy that equals the reference: all pairs are ties, and the KL is 0."""


def constants_before(metrics: Sequence[Metric]) -> set[str]:
    """Return the names of the metrics whose value before training is known by construction.

    Accuracy is among them only if all margins are 0: without a reference, an accuracy of one half may be
    measured.
    """
    found = {
        metric.name
        for metric in metrics
        if metric.before is not None and metric.before.value == AT_THE_REFERENCE.get(metric.name)
    }
    spread = {m.name for m in metrics if m.before is not None and m.before.low != m.before.high}
    found -= spread - {"accuracy"}
    return found if "margin" in found else found - {"accuracy"}
