"""The devices that a test of a GPU path runs on: here, so that it cannot rot, and on a GPU where one is."""

import pytest

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize("device", DEVICES)
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
"""Heads of 16: FlexAttention's kernel multiplies no narrower ones."""
