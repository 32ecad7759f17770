"""The ledger on its own: what a key holds, one process at a time, readers that improve, prices."""

from __future__ import annotations

import io
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.llm.budget import Budget, BudgetSection, Cost, Price, find_price, worst_case
from boresight.llm.client import Client
from boresight.llm.ledger import Ledger
from boresight.llm.progress import Meter, watching
from boresight.llm.replies.reply import Reply, Usage
from boresight.llm.request import Request

BASE: dict[str, Any] = {
    "endpoint": "http://127.0.0.1/v1",
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
    "params": {"max_tokens": 8, "temperature": 1.0},
    "schema": None,
    "sample": 0,
}
BODY = {
    "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://127.0.0.1/v2"},
        {"model": "n"},
        {"messages": [{"role": "user", "content": "hi!"}]},
        {"messages": [{"role": "system", "content": "x"}, *BASE["messages"]]},
        {"params": {"max_tokens": 9, "temperature": 1.0}},
        {"params": {"max_tokens": 8, "temperature": 1.0, "top_p": 0.9}},
        {"schema": {"type": "object"}},
        {"sample": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_determines_the_response_is_in_the_key(change: dict[str, Any]) -> None:
    assert Request(**BASE).key != Request(**{**BASE, **change}).key


def test_what_determines_nothing_is_not_in_the_key() -> None:
    swapped = {"temperature": 1.0, "max_tokens": 8}
    assert Request(**BASE).key == Request(**{**BASE, "params": swapped, "stage": "judge"}).key


def test_a_better_reader_replays_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(**BASE)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.complete(ledger.reserve(request, 11, 0.0), request, BODY, 4, 0.0)
        assert ledger.reply(request).text == "hello"
        monkeypatch.setattr(Reply, "read", classmethod(lambda cls, body: Reply("read anew")))
        assert ledger.reply(request).text == "read anew"


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite"), pytest.raises(UserError, match="another process"):
        Ledger(tmp_path / "l.sqlite")
    Ledger(tmp_path / "l.sqlite").close()


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    path.write_text("not a database, but long enough to be taken for one" * 10)
    with pytest.raises(UserError, match="not a ledger"):
        Ledger(path)
    assert path.read_text().startswith("not a database")


def test_a_ledger_that_cannot_be_written_is_not_called_another_file(tmp_path: Path) -> None:
    (tmp_path / "l.sqlite").mkdir()
    with pytest.raises(UserError, match=r"l\.sqlite: cannot be written \(unable to open"):
        Ledger(tmp_path / "l.sqlite")


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    """Its first page is whole, so that it opens; the others, with the responses, are not."""
    path = tmp_path / "l.sqlite"
    asked = [Request(**{**BASE, "stage": f"stage {n}"}) for n in range(40)]
    with Ledger(path) as ledger:
        ledger.keep((request, {"text": "x" * 1000}) for request in asked)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(UserError, match=r"l\.sqlite: .*(damaged|not a ledger)"), Ledger(path) as ledger:
        ledger.costs()


def test_an_attempt_that_a_dead_process_left_open_counts_at_its_worst(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.reserve(Request(**BASE), 40, 0.5)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        spent = ledger.spent()
    assert (spent.requests, spent.tokens, spent.lost_tokens, spent.lost_usd) == (1, 40, 40, 0.5)


def test_the_worst_case_of_a_request_by_hand() -> None:
    """`hi` is 2 bytes, none of 3: 0 tokens, plus 8 for the message and 8 for the answer's opening: 16."""
    cost = worst_case(Request(**BASE), Price(input=1.0, output=10.0))
    assert cost == Cost(16 + 8, pytest.approx((16 * 1 + 8 * 10) / 1e6))


def test_cached_prompt_tokens_have_their_own_price() -> None:
    """(100 - 40) · 4 + 40 · 1 + 10 · 8 = 360 millionths."""
    usage = Usage(prompt=100, completion=10, cached=40)
    assert Price(input=4, output=8, cached_input=1).of(usage) == pytest.approx(360e-6)
    assert Price(input=4, output=8, cached_input=1).halved().of(usage) == pytest.approx(180e-6)


def test_a_price_is_looked_up_at_the_length_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for genai-prices: $1.25 and $10 a million, twice that above 200,000 tokens a request."""

    def calc_price(usage: Any, model: str) -> SimpleNamespace:
        if model != "tiered":
            raise LookupError(model)
        times = 2 if usage.input_tokens > 200_000 else 1
        return SimpleNamespace(
            input_price=Decimal("1.25e-6") * usage.input_tokens * times,
            output_price=Decimal("10e-6") * usage.output_tokens * times,
        )

    module = SimpleNamespace(Usage=SimpleNamespace, calc_price=calc_price)
    monkeypatch.setitem(sys.modules, "genai_prices", module)
    assert find_price("tiered", None) == Price(input=1.25, output=10)
    assert find_price("nonesuch", None) is None
    assert find_price("tiered", Price(input=1, output=2)) == Price(input=1, output=2)


def test_a_budget_never_holds_more_than_its_ceiling() -> None:
    budget = Budget(BudgetSection(max_tokens=100))
    budget.reserve(Cost(60, 0.0))
    assert budget.exceeded(Cost(41, 0.0)) == "budget.max_tokens = 100"
    assert budget.exceeded(Cost(40, 0.0)) is None
    budget.settle(Cost(60, 0.0), Cost(10, 0.0))
    assert budget.exceeded(Cost(90, 0.0)) is None and budget.tokens == 10


def test_the_live_line_says_rate_money_and_troubles(tmp_path: Path) -> None:
    """30 answers in 10 s; $2 for 30 of 90 items make $6 for all."""
    now = iter([0.0, 10.0])
    with Ledger(tmp_path / "l.sqlite") as ledger:
        client = Client(ledger, [])
        meter = Meter(client, lambda: next(now))
        client.progress.answered, client.budget.usd = 30, 2.0
        client.budget.reserve(Cost(10, 5.0))  # under way, and not spent yet
        client.progress.failures["rate_limit"] = 4
        line = meter.line(done=30, total=90)
    assert line.startswith("3.0 per second")
    assert "$2.00 spent, $6.00 at the end" in line and "4 rate_limit" in line


def test_without_a_terminal_the_live_view_is_a_plain_line_at_the_end(tmp_path: Path) -> None:
    out = io.StringIO()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        client = Client(ledger, [])
        with watching(client, "answers", 3, Console(file=out)) as step:
            for _ in range(3):
                step()
    assert out.getvalue().splitlines()[-1].startswith("answers: 3 of 3 ·")
