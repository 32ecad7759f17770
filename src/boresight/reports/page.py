"""Write report.html of a run: a single file that needs no network and opens from disk.

Model answers, prompts and settings are untrusted text. Three measures prevent them from being executed: jinja
escapes everything it writes, data for scripts is JSON with its angle brackets escaped, and the page's content
security policy runs only the scripts whose hashes it lists and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from boresight.core.errors import UserError
from boresight.core.files import write_text
from boresight.core.version import VERSION
from boresight.core.wording import cut_at_tokens
from boresight.reports.by_construction import constants_before
from boresight.reports.facts import facts, splits
from boresight.reports.figures import figures
from boresight.reports.headline import headline
from boresight.reports.read_run import RunData, RunSample, read_run
from boresight.reports.samples.cut import cut_sentence
from boresight.reports.samples.shorten import fit_on_page, shortened_sentence
from boresight.reports.tables.files import Table, TableRow, table_paths, write_tables
from boresight.reports.tables.metrics import metric_rows
from boresight.reports.tables.setup import changed_settings, environment_in_words

if TYPE_CHECKING:
    from rich.console import Console

NAME = re.compile(r"(?<![\w./-])[^\W\d_]\w*(?:[.-]+\w+)+(?![\w/-])")
"""Matches words that are joined by hyphens or dots and are no path, such as `lr-2e-3`."""
LONGEST_UNBROKEN = 30
"""Maximum number of characters of a name with a digit that is not broken; it fits into a line on a phone."""
LONGEST_WORD = 15
"""Maximum number of characters of a hyphenated word, such as `log-likelihood`, that is not broken."""
TITLE_END = " · boresight</title>"
"""The end of every page's title in base.html.j2."""
LONGEST_HEAD = 20_000
"""Number of bytes at the beginning of a page within which its title ends."""
NO_SAMPLES: dict[str, Any] = {"columns": [], "outcomes": [], "samples": []}


def write_report(run: Path, console: Console | None = None) -> Path:
    """Write `run/report.html` from the files in the run folder, and return its path.

    Raises:
        UserError: `run` is no run folder.
    """
    return write_report_of(read_run(run), console)


def write_report_of(data: RunData, console: Console | None = None) -> Path:
    """Write `report.html` into the folder of a run that was read, and return its path.

    Works for unfinished runs; the page lists what is missing. Metrics are written beside the page as
    Markdown, CSV and LaTeX.
    """
    path = data.folder / "report.html"
    if data.metrics:
        write_tables(path, metrics_table(data))
    write_page(path, render_report(data))  # last, since the page marks the run as finished
    if console is not None:
        console.print(f"report: {path}", markup=False, highlight=False)
    return path


def metrics_table(run: RunData) -> Table:
    """Return the table of metrics for the files beside the page (Markdown, CSV, LaTeX)."""
    constants = constants_before(run.metrics)
    rows = [
        TableRow(m.label, m.unit, [m.before, m.after, m.difference], (0,) if m.name in constants else ())
        for m in run.metrics
    ]
    return Table("metric", ["before", "after", "difference"], rows, differences=("difference",))


def render_report(run: RunData) -> str:
    """Return the page of one run as HTML."""
    return page(
        "report.html.j2",
        title=run.name,
        run=run,
        headline=headline(run),
        facts=facts(run),
        rows=metric_rows(run.metrics),
        constants=constants_before(run.metrics),
        figures=figures(run),
        splits=splits(run),
        settings=changed_settings(run.config),
        environment=environment_in_words(run.environment),
        payload={
            "columns": ["before training", "after training"],
            "files": "samples.jsonl",
            "outcomes": ["Fixed", "Broken", "Still failing"],
            "samples": [_as_card(sample) for sample in run.samples],
        },
    )


def _as_card(sample: RunSample) -> dict[str, Any]:
    """Return a sample in the form that report.js draws; answers of earlier steps become collapsed notes."""
    between = [(f"after step {step:,}", said) for step, said in sample.between]
    cuts = [cut_at_tokens(count) for count in sample.cut_at]
    return asdict(sample) | {"notes": between, "between": None, "cut_at": None, "cuts": cuts}


def page(
    template: str,
    title: str,
    payload: dict[str, Any] | None = None,
    *,
    scripts: Sequence[str] = ("curves.js", "regions.js", "report.js"),
    connects: bool = False,
    **context: object,
) -> str:
    """Render a self-contained HTML page with inlined style, scripts and data, and a content security policy.

    Args:
        template: name of the jinja template, which is also given `context`.
        title: title of the page.
        payload: data for report.js: `samples`, the names of their `columns`, and `outcomes`: the labels of a
            check that only the last of two columns passes, only the first, or neither. The `cuts` of a sample
            mark the answers that the token limit cut. `files` names the files with the whole texts, since the
            page shortens long ones. The template is given sentences about shortened and cut answers as
            `sample_notes`.
        scripts: names of the scripts.
        connects: permit requests to the server that the page came from, and to no other.
        context: further values for the template.
    """
    texts = [_asset(script) for script in scripts]
    payload, sample_notes = payload or NO_SAMPLES, []
    if samples := payload.get("samples"):
        payload = {**payload, "samples": fit_on_page(samples)}
        sample_notes = [cut_sentence(payload), shortened_sentence(payload["samples"], payload["files"])]
    return (
        _templates()
        .get_template(template)
        .render(
            title=title,
            version=VERSION,
            style=Markup(_asset("report.css")),
            scripts=[Markup(text) for text in texts],
            policy=_policy(texts, connects),
            sample_notes=sample_notes,
            payload=htmlsafe_json_dumps(payload, separators=(",", ":")),
            **context,
        )
    )


def check_page_path(path: Path) -> None:
    """Raise a `UserError` if a page and its tables cannot be written, or would replace other files."""
    if path.suffix != ".html":
        raise UserError(
            f"--out: {path} is a page, and tables are written beside it; give it the ending .html."
        )
    if not path.parent.is_dir():
        raise UserError(f"--out: there is no folder {path.parent}; make it first.")
    if path.exists():
        if not _is_page(path):
            raise UserError(f"--out: {path} is there already and no page of boresight; give another name.")
    elif others := [table.name for table in table_paths(path) if table.exists()]:
        raise UserError(
            f"--out: {', '.join(others)} beside {path} would be replaced by tables; give another name."
        )


def _is_page(path: Path) -> bool:
    """Whether a file is a page of boresight, according to its title."""
    with path.open("rb") as file:
        return TITLE_END.encode() in file.read(LONGEST_HEAD)


def write_page(path: Path, html: str) -> None:
    """Replace the file atomically, so that a reader never finds an incomplete page."""
    write_text(path, html)


def _policy(scripts: list[str], connects: bool) -> str:
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    return f"{policy}; connect-src 'self'" if connects else policy


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def typeset(text: str) -> str:
    """Return the text with typographic replacements in numbers.

    These are a true minus sign, and no-break spaces before %, inside intervals and around the equals sign of
    n and p.
    """
    text = re.sub(r"(?<![\w.])-(?=[\d∞])", "−", text)
    text = re.sub(r"\b([np]) = ", "\\1\u00a0=\u00a0", text.replace(" %", "\u00a0%"))
    return re.sub(r"(\[[−\d.,∞]+,) (?=[−\d.,∞]+\])", "\\1\u00a0", text)


def unbroken(text: str) -> Markup:
    """Return the text as HTML in which short hyphenated names and words are not broken.

    Examples are the name `lr-2e-3` and the word `held-out`. The characters are unchanged, so that a reader
    can search for the name and copy it.
    """

    def span(found: re.Match[str]) -> str:
        name = found[0]
        longest = LONGEST_UNBROKEN if any(map(str.isdigit, name)) else LONGEST_WORD
        is_one = "-" in name and len(name) <= longest
        return f'<span class="unbroken">{name}</span>' if is_one else name

    return Markup(NAME.sub(span, str(escape(text))))


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("boresight.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["unbroken"] = unbroken
    return environment


@cache
def _asset(name: str) -> str:
    return resources.files("boresight.reports").joinpath("templates", name).read_text(encoding="utf-8")
