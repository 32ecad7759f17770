"""Tables for elsewhere: names stay names in Markdown, LaTeX and spreadsheets."""

import csv

from boresight.reports.tables.files import Table, TableRow, comma_separated, latex, markdown, write_tables
from boresight.stats.intervals import Interval

TABLE = Table(
    "metric",
    ["run|1", "=cmd()"],
    [
        TableRow("met 50 % & more", "share", [Interval(0.5, 0.4, 0.6, 100), None]),
        TableRow("margin_x", "nats", [Interval(2.0, 1.5, 2.5, 80, 3), Interval(-1.0, -2.0, 0.0, 80)]),
    ],
)


def test_markdown():
    assert markdown(TABLE) == (
        "| metric | run\\|1 | =cmd() |\n"
        "|---|---:|---:|\n"
        "| met 50 % & more | 50.0 % [40.0, 60.0], n = 100 | – |\n"
        "| margin_x | 2.0 nats [1.5, 2.5], n = 80 | -1.0 nats [-2.0, 0.0], n = 80 |\n"
    )


def test_latex_escapes_what_it_would_run():
    text = latex(TABLE)
    assert r"met 50 \% \& more & 50.0 \% [40.0, 60.0], n = 100 & – \\" in text
    assert r"margin\_x" in text and text.startswith("\\begin{tabular}{lrr}")
    evil = Table("m", [r"\input{/etc/passwd}"], [])
    assert r"\input" not in latex(evil) and r"\textbackslash{}input\{/etc/passwd\}" in latex(evil)


def test_numbers_survive_unrounded_and_formulas_do_not():
    rows = list(csv.reader(comma_separated(TABLE).splitlines()))
    assert rows[0] == ["metric", "column", "unit", "value", "low", "high", "n", "missing"]
    assert rows[2] == ["margin_x", "run|1", "nats", "2.0", "1.5", "2.5", "80", "3"]
    assert rows[3][1] == "'=cmd()" and len(rows) == 4


def test_a_difference_has_its_sign_and_is_in_points():
    row = TableRow("met", "share", [Interval(0.5, 0.4, 0.6, 100), Interval(0.041, 0.01, 0.072, 100)])
    said = markdown(Table("metric", ["after", "difference"], [row], differences=("difference",)))
    assert said.endswith("| met | 50.0 % [40.0, 60.0], n = 100 | +4.1 points [1.0, 7.2], n = 100 |\n")


def test_a_value_by_construction_has_neither_limits_nor_a_number_of_prompts():
    """As on the page: before training half of the pairs are ranked right, whatever the sample."""
    row = TableRow(
        "ranked right", "share", [Interval(0.5, 0.33, 0.67, 8), Interval(0.75, 0.41, 0.93, 8)], (0,)
    )
    said = markdown(Table("metric", ["before", "after"], [row]))
    assert said.endswith("| ranked right | 50.0 % by construction | 75.0 % [41.0, 93.0], n = 8 |\n")


def test_three_files_beside_the_page(tmp_path):
    written = write_tables(tmp_path / "compare.html", TABLE)
    assert [p.name for p in written] == ["compare.md", "compare.csv", "compare.tex"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["compare.csv", "compare.md", "compare.tex"]
