"""The arithmetic of contrast, without a browser: definitions of WCAG 2.2, values worked by hand."""

import pytest

from tests.reports.looks import (
    LEAST_CONTRAST,
    WHITE,
    contrast,
    contrast_on_page,
    least_contrast,
    luminance,
    painted_over,
)

BLACK = (0, 0, 0)


def test_black_on_white_has_the_highest_contrast():
    """(1 + 0.05) / (0 + 0.05) = 21, in either order; a color on itself has 1."""
    assert contrast(BLACK, WHITE) == contrast(WHITE, BLACK) == pytest.approx(21)
    assert contrast((12, 200, 7), (12, 200, 7)) == 1


def test_luminance_by_hand():
    """Pure green has its weight, 0.7152. 128 / 255 = 0.50196, ((0.50196 + 0.055) / 1.055)^2.4 = 0.21586."""
    assert luminance((0, 255, 0)) == pytest.approx(0.7152)
    assert luminance((128, 128, 128)) == pytest.approx(0.21586, abs=1e-5)
    assert luminance((10, 10, 10)) == pytest.approx(10 / 255 / 12.92), "linear near black"


def test_the_palest_gray_that_passes_on_white():
    """#767676 is known as the palest gray with 4.5 on white: 4.54; #777777 has 4.48."""
    assert contrast((0x76,) * 3, WHITE) == pytest.approx(4.54, abs=0.005)
    assert contrast((0x77,) * 3, WHITE) == pytest.approx(4.48, abs=0.005)
    assert contrast((0x77,) * 3, WHITE) < LEAST_CONTRAST < contrast((0x76,) * 3, WHITE)


def test_transparent_colors_are_mixed_with_what_is_below():
    """Black at 0.25 over white: 0.75 * 255 = 191.25. Half of that over it: (191.25 + 0) / 2."""
    assert painted_over((0, 0, 0, 0.25), WHITE) == (191.25,) * 3
    assert painted_over((0, 0, 0), WHITE) == BLACK, "without alpha it is opaque"
    gray = contrast((95.625,) * 3, (191.25,) * 3)
    assert contrast_on_page((0, 0, 0, 0.5), [(0, 0, 0, 0.25)]) == pytest.approx(gray)
    assert contrast_on_page((0, 0, 0, 1), [(9, 9, 9, 1), (*WHITE, 1)]) == pytest.approx(21), "the top one"
    assert contrast_on_page((0, 0, 0, 0), []) == 1, "an invisible text"


@pytest.mark.parametrize(
    ("size", "weight", "least"),
    [(16, 400, 4.5), (23.9, 400, 4.5), (24, 400, 3), (18.66, 700, 3), (18.66, 600, 4.5), (18, 900, 4.5)],
)
def test_large_text_needs_less(size, weight, least):
    assert least_contrast(size, weight) == least
