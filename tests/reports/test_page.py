"""The page as text: one file, nothing from the network, and no text that could become code."""

import html
import json
import re
from html.parser import HTMLParser

import pytest

from boresight.core.errors import UserError
from boresight.reports.compare import write_comparison
from boresight.reports.page import typeset, unbroken, write_report
from tests.reports.fake_run import ATTACK, write_fake_run


class _Tags(HTMLParser):
    """Every start tag with its attributes, and the text of scripts by type."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append((self.tags[-1][1].get("type", ""), data))


def _parsed(path):
    html = path.read_text()
    tags = _Tags()
    tags.feed(html)
    return html, tags


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return _parsed(
        write_report(write_fake_run(tmp_path_factory.mktemp("page") / "run", steps=24, hostile=True))
    )


def test_planted_markup_stays_text(hostile):
    html, tags = hostile
    assert "<script>alert" not in html and "<img src=x" not in html
    assert not [attrs for _, attrs in tags.tags if any(name.startswith("on") for name in attrs)]
    assert "img" not in {tag for tag, _ in tags.tags}
    assert (
        html.count("&lt;/script&gt;&lt;script&gt;alert(1)") >= 3
    )  # recipe, data path, environment, metric label


def test_planted_markup_survives_as_data(hostile):
    """Escaping loses nothing: the payload still holds the attack, letter by letter."""
    _, tags = hostile
    payload = json.loads(next(text for kind, text in tags.scripts if kind == "application/json"))
    sample = payload["samples"][0]
    assert sample["answers"] == [f"before {ATTACK}", f"after {ATTACK}"]
    assert ATTACK in sample["prompt"][-1]["content"]


def test_only_listed_scripts_may_run_and_nothing_may_load(hostile):
    _, tags = hostile
    policy = next(a["content"] for t, a in tags.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert not [a for _, a in tags.tags if a.get("src") or (a.get("href") or "#")[0] != "#"]


def test_the_page_holds_headline_table_and_curves(hostile):
    html, _ = hostile
    headings = re.findall(r"<h2>([^<]+)", html)
    assert [h.strip() for h in headings] == ["Before and after", "Curves", "Answers side by side", "Set-up"]
    assert html.count('class="plot"') == 10
    assert html.count("<tr>") == 6


@pytest.mark.parametrize(
    "keep", ["config.yaml", "metrics.jsonl", "evaluation.json", "samples.jsonl", "data.json"]
)
def test_any_one_file_is_enough(tmp_path, keep):
    folder = write_fake_run(tmp_path / "run", steps=24)
    (folder / "model").rmdir()
    for path in folder.iterdir():
        if path.name != keep:
            path.unlink()
    html = write_report(folder).read_text()
    assert "The run has not finished" in html
    assert html.count(" is missing: ") == 5
    tables = ["report.md", "report.csv", "report.tex"] if keep == "evaluation.json" else []
    assert sorted(p.name for p in folder.iterdir()) == sorted([keep, "report.html", *tables])


def test_the_largest_page_is_below_a_megabyte(tmp_path):
    """A long run with every curve, 60 prompts and hostile text."""
    assert write_report(write_fake_run(tmp_path / "run", steps=4000, hostile=True)).stat().st_size < 1_000_000


def test_a_report_of_no_run_writes_nothing(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("lr-2e-3 beats lr-1e-3.", ["lr-2e-3", "lr-1e-3"]),
        ("'dpo-0.5b' on SmolLM2-135M-Instruct, seed-1!", ["dpo-0.5b", "SmolLM2-135M-Instruct", "seed-1"]),
        ("a well-known name, runs/lr-2e-3, fell by -3.5 and 5-3", ["well-known"]),
        ("held-out log-likelihood of over-parametrization", ["held-out", "log-likelihood"]),
        (f"a-{'x' * 40}-1 is longer than a line", []),
        ("<b>x-1</b> & y", ["x-1"]),
    ],
)
def test_short_names_and_words_are_not_broken_at_their_hyphens(text, whole):
    """Paths, long words and numbers may be; what it marks is escaped, with the same characters."""
    marked = str(unbroken(text))
    assert re.findall(r'<span class="unbroken">(.*?)</span>', marked) == whole
    assert html.unescape(re.sub(r'<span class="unbroken">|</span>', "", marked)) == text
    assert "<b>" not in marked


def test_the_headline_of_a_comparison_keeps_the_names_of_runs_whole(tmp_path):
    folders = [write_fake_run(tmp_path / f"lr-{rate}", steps=24) for rate in ("2e-3", "1e-3")]
    page = write_comparison(folders, tmp_path / "compare.html").page.read_text()
    (headline,) = re.findall(r"<h1.*?</h1>", page)
    assert (
        '<span class="unbroken">lr-1e-3</span>' in headline and ".unbroken { white-space: nowrap; }" in page
    )


def test_numbers_are_typeset_and_words_are_not():
    assert typeset("fell by -3.5 % [-6.0, -1.0] on GPT-4") == "fell by −3.5\u00a0% [−6.0,\u00a0−1.0] on GPT-4"
    assert typeset("[1.0, 7.2], n = 800") == "[1.0,\u00a07.2], n\u00a0=\u00a0800"
