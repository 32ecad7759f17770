"""Errors of other libraries in one line."""

from __future__ import annotations

import pytest

from boresight.core.errors import first_line, named_first_line


@pytest.mark.parametrize(
    ("error", "first", "named"),
    [
        (ValueError("no head.\nDetails follow."), "no head", "ValueError: no head."),
        (KeyError("prompt"), "'prompt'", "KeyError: 'prompt'"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError: no message"),
    ],
)
def test_the_first_line_of_an_error(error, first, named):
    assert (first_line(error), named_first_line(error)) == (first, named)
