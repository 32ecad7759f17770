"""The client of synthetic data against a real server on loopback: cost per request, rates, memory.

    python benchmarks/synthesize.py overhead     # CPU time per request beside the bare openai package
    python benchmarks/synthesize.py rates        # share of a server's limits that is used, over a minute each
    python benchmarks/synthesize.py memory       # resident memory over 100,000 requests

The server is the one of the tests, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.llm.fake_server import FakeServer  # noqa: E402

from boresight.llm.client import Client, Endpoint  # noqa: E402
from boresight.llm.ledger import Ledger  # noqa: E402
from boresight.llm.rate_limits import LimitSection  # noqa: E402
from boresight.llm.request import Request  # noqa: E402
from boresight.llm.transports.openai import OpenAITransport, sdk_arguments  # noqa: E402

KEY_ENV = "BORESIGHT_BENCHMARK_KEY"
os.environ[KEY_ENV] = "none"
CONCURRENCY = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=sorted(BENCHMARKS))
    parser.add_argument("--requests", type=int, help="how many, where it is not a matter of time")
    parser.add_argument("--seconds", type=float, default=65.0, help="length of a rate measurement")
    arguments = parser.parse_args()
    BENCHMARKS[arguments.what](arguments)


# --- cost ------------------------------------------------------------------------------------------


def overhead(arguments: argparse.Namespace) -> None:
    """CPU milliseconds a request, ours and the bare package's, in turns so that both see the same machine."""
    count = arguments.requests or 2000
    limits = LimitSection(max_concurrency=CONCURRENCY)
    with server() as url:
        ours, bare = [], []
        for _ in range(3):
            bare.append(cpu_ms(lambda: bare_sdk(url, count)) / count)
            ours.append(cpu_ms(lambda: through_client(url, count, limits)) / count)
    print(f"{count} requests, {CONCURRENCY} at once, best of 3, CPU ms a request:")
    print(f"  openai package alone   {min(bare):.3f}")
    print(f"  through the client     {min(ours):.3f}")
    alone = min(cpu_ms(lambda: without_server(count)) / count for _ in range(3))
    print(f"  the difference         {min(ours) - min(bare):.3f}")
    print(f"  the client, with a transport that answers at once   {alone:.3f}")


def cpu_ms(work: Callable[[], Any]) -> float:
    """CPU time of this process, user and system."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def bare_sdk(url: str, count: int) -> None:
    """The same requests with the package alone, nothing kept."""

    async def go() -> None:
        transport = OpenAITransport(url, KEY_ENV)
        create = transport._client.chat.completions.with_raw_response.create
        places = asyncio.Semaphore(CONCURRENCY)

        async def one(request: Request) -> None:
            async with places:
                await create(**sdk_arguments(request, "schema"))

        await asyncio.gather(*(one(request) for request in requests(url, count)))
        await transport.close()

    asyncio.run(go())


class AtOnce:
    """A transport that costs nothing, so that what is left is the client's own."""

    base_url = "at-once"

    async def send(self, request: Request) -> dict[str, Any]:
        """A body of the usual size."""
        message = {"role": "assistant", "content": "word " * 40}
        usage = {"prompt_tokens": 90, "completion_tokens": 40}
        return {"choices": [{"finish_reason": "stop", "message": message}], "usage": usage}

    async def close(self) -> None:
        """Nothing to close."""


def without_server(count: int) -> None:
    """Limits, account, ledger, tasks: everything but HTTP."""

    async def go(folder: str) -> None:
        with Ledger(Path(folder) / "ledger.sqlite") as ledger:
            limits = LimitSection(max_concurrency=CONCURRENCY, rpm=1e9, tpm=1e12)
            async with Client(ledger, [Endpoint("m", AtOnce(), limits)]) as client:
                await client.each(requests(AtOnce.base_url, count), client.ask)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(folder))


def through_client(url: str, count: int, limits: LimitSection, seconds: float | None = None) -> None:
    """Through the client, into a ledger."""

    async def go(folder: str) -> None:
        with Ledger(Path(folder) / "ledger.sqlite") as ledger:
            endpoint = Endpoint("m", OpenAITransport(url, KEY_ENV), limits)
            async with Client(ledger, [endpoint]) as client:
                try:
                    async with asyncio.timeout(seconds):
                        await client.each(requests(url, count), client.ask)
                except TimeoutError:
                    pass

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(folder))


def requests(url: str, count: int) -> Iterator[Request]:
    """Requests made one by one, as a stage makes them."""
    for i in range(count):
        text = f"Say something about the number {i}. " + "Take your time. " * 20
        yield Request(url, "m", [{"role": "user", "content": text}], {"max_tokens": 64}, stage="answers")


# --- rates -----------------------------------------------------------------------------------------


def rates(arguments: argparse.Namespace) -> None:
    """What a server with a limit of its own let through in the fullest minute, and what it refused."""
    for name, limit in (("rpm", 3000), ("tpm", 300_000)):
        with server(**{name: limit}) as url, stats_of(url) as stats:
            through_client(url, 10**6, LimitSection(**{name: limit}), arguments.seconds)
            seen = stats()
        amounts = [(s.at, 1 if name == "rpm" else s.tokens) for s in seen]
        print(
            f"{name} {limit:,}: {len(seen):,} requests in {seen[-1].at - seen[0].at:.1f} s, "
            f"{average(amounts) / limit:.1%} of the limit on average, {fullest(amounts) / limit:.1%} in the "
            f"fullest minute, refused {sum(s.outcome == '429' for s in seen)}"
        )


def average(amounts: list[tuple[float, int]]) -> float:
    """Amount a minute, from the first request to the last."""
    return sum(amount for _, amount in amounts[1:]) * 60 / (amounts[-1][0] - amounts[0][0])


def fullest(amounts: list[tuple[float, int]]) -> float:
    """The most in any 60 seconds."""
    best = total = first = 0
    for at, amount in amounts:
        total += amount
        while amounts[first][0] <= at - 60:
            total -= amounts[first][1]
            first += 1
        best = max(best, total)
    return best


# --- memory ----------------------------------------------------------------------------------------


def memory(arguments: argparse.Namespace) -> None:
    """Resident memory as the requests go by; it must not grow with them."""
    count = arguments.requests or 100_000
    step = max(1, count // 10)
    print("requests  resident MB")
    with server() as url, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_remember(url, count, step, Path(folder)))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f} MB")


async def _remember(url: str, count: int, step: int, folder: Path) -> None:
    began, done = time.monotonic(), 0
    with Ledger(folder / "ledger.sqlite") as ledger:
        limits = LimitSection(max_concurrency=CONCURRENCY)
        async with Client(ledger, [Endpoint("m", OpenAITransport(url, KEY_ENV), limits)]) as client:

            async def ask(request: Request) -> None:
                nonlocal done
                await client.ask(request)
                done += 1
                if done % step == 0:
                    print(f"{done:>8}  {resident():.1f}", flush=True)

            await client.each(requests(url, count), ask)
        print(f"{ledger.spent().requests:,} in the ledger after {time.monotonic() - began:.0f} s")


def resident() -> float:
    """Resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- the server ------------------------------------------------------------------------------------


@contextmanager
def server(**limits: Any) -> Iterator[str]:
    """A fake server in a process of its own; yields its URL."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, limits), daemon=True)
    process.start()
    url = ours.recv()
    _PIPES[url] = ours
    try:
        yield url
    finally:
        ours.send("stop")
        process.join()


_PIPES: dict[str, Connection] = {}


@contextmanager
def stats_of(url: str) -> Iterator[Callable[[], Any]]:
    """A function that fetches what the server has seen."""

    def fetch() -> Any:
        _PIPES[url].send("seen")
        return _PIPES[url].recv()

    yield fetch


def _serve(pipe: Connection, limits: dict[str, Any]) -> None:
    latency = 0.02 if limits else 0.0
    with FakeServer(latency=lambda under_way: latency, **limits) as fake:
        pipe.send(fake.url)
        while pipe.recv() == "seen":
            pipe.send(fake.seen)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "overhead": overhead,
    "rates": rates,
    "memory": memory,
}

if __name__ == "__main__":
    main()
