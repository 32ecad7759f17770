"""Metrics whose value before training is known without a measurement, because the start model is its own
reference."""

from __future__ import annotations

from collections.abc import Sequence

from boresight.reports.read_run import Metric

AT_THE_REFERENCE = {"margin": 0.0, "accuracy": 0.5, "kl_per_token": 0.0}
"""Values of a policy that equals the reference: margin 0, so that all pairs are ties, and no divergence."""


def constants_before(metrics: Sequence[Metric]) -> set[str]:
    """Names of metrics whose value before training is a constant.

    An accuracy is one only together with margins that are all 0: without a reference, one half may be a
    measured value.
    """
    found = {
        metric.name
        for metric in metrics
        if metric.before is not None and metric.before.value == AT_THE_REFERENCE.get(metric.name)
    }
    spread = {m.name for m in metrics if m.before is not None and m.before.low != m.before.high}
    found -= spread - {"accuracy"}
    return found if "margin" in found else found - {"accuracy"}
