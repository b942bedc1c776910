"""Test that many callers share reads, and that bursts of work leave time for other work."""

from __future__ import annotations

import asyncio

import pytest

from deploy.service_layer.sharing import MAX_READS, SharedReads, Turns


class Source:
    """A source of numbers whose reads wait until they are released."""

    def __init__(self) -> None:
        self.value = self.reads = 0
        self.released = asyncio.Event()

    async def read(self) -> int:
        """Return the value at the start of the read."""
        found = self.value
        self.reads += 1
        await self.released.wait()
        return found


async def turns(count: int = 5) -> None:
    """Let all tasks that are ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_callers_that_ask_at_once_share_a_read() -> None:
    source, shared = Source(), SharedReads()
    source.released.set()
    assert await asyncio.gather(*(shared.get("a", source.read) for _ in range(1000))) == [0] * 1000
    assert source.reads == 1


async def test_a_caller_does_not_receive_a_read_that_started_before() -> None:
    source, shared = Source(), SharedReads()
    first = asyncio.ensure_future(shared.get("a", source.read))
    await turns()
    source.value = 1
    second = asyncio.ensure_future(shared.get("a", source.read))
    await turns()
    source.released.set()
    assert (await first, await second) == (0, 1)


async def test_callers_gather_while_other_reads_run() -> None:
    source, shared = Source(), SharedReads()
    busy = [asyncio.ensure_future(shared.get(number, source.read)) for number in range(MAX_READS)]
    await turns()
    waiting = []
    for _ in range(10):
        waiting.append(asyncio.ensure_future(shared.get("a", source.read)))
        await turns()
    assert source.reads == MAX_READS
    source.released.set()
    await asyncio.gather(*busy, *waiting)
    assert source.reads == MAX_READS + 1


async def test_a_canceled_caller_does_not_cancel_the_read_of_others() -> None:
    source, shared = Source(), SharedReads()
    first, second = (asyncio.ensure_future(shared.get("a", source.read)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    source.released.set()
    assert await second == 0


async def test_all_callers_receive_the_error_of_a_read() -> None:
    async def fail() -> int:
        raise ConnectionError("away")

    shared = SharedReads()
    found = await asyncio.gather(*(shared.get("a", fail) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["away"] * 3
    with pytest.raises(ConnectionError):
        await shared.get("a", fail)


async def test_bursts_are_spread_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(round(seconds, 6))

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: 100.0, raising=False)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    bursts = Turns(0.001)
    for _ in range(4):
        await bursts.wait()
    monkeypatch.undo()
    assert delays == [0, 0.002, 0.004, 0.006]
