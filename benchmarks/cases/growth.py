"""Measure how much slower the product is with a long and skewed history, and with a long queue."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks import folders, skewed
from benchmarks.machine import median
from benchmarks.product import HOST, TIMEOUT, Product
from benchmarks.table import Row, attempt

SHORT, LONG = 10_000, 1_000_000
FEW, MANY = 100, 10_000
HISTORY_GOAL, QUEUE_GOAL, PAGE_GOAL_KB = 2.0, 0.7, 100
# The number of deployments whose drain is timed.
DRAINED = 80
SLOTS = 4
STARTS, OUT_OF_ORDER = 3, 3


@dataclass
class Measured:
    """The median time of a request in ms, and the largest response in kB."""

    ms: float
    kb: float


class Requests:
    """Sends requests one after another on one connection."""

    def __init__(self, product: Product, rounds: int) -> None:
        self._token, self._rounds = product.token, rounds
        self._connection = http.client.HTTPConnection(HOST, product.port, timeout=TIMEOUT)

    def measure(self, path: str, method: str = "GET") -> Measured:
        """Send a request several times."""
        times, sizes = [], []
        for number in range(self._rounds + 2):
            began = time.perf_counter()
            self._connection.request(method, path, headers={"Authorization": f"Bearer {self._token}"})
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
            if number >= 2:  # the first requests plan statements
                times.append(1000 * (time.perf_counter() - began))
            sizes.append(len(body) / 1000)
        return Measured(median(times), max(sizes))


def measure_growth(folder: Path, *, quick: bool) -> list[Row]:
    """Measure a product of its own, because the history cannot be shortened afterwards."""
    long, many = (SHORT * 2, FEW * 2) if quick else (LONG, MANY)
    services_dir, data_dir = folder / "growth-services", folder / "growth"
    folders.write_services(services_dir)
    for number in range(1, 21):
        folders.script_service(services_dir, f"quick-{number:02d}", "one_step.sh")
    for number in range(SLOTS):
        folders.sleeping_service(services_dir, f"hold-{number}")
    rounds = 3 if quick else 9
    return [
        *attempt("a long history", lambda: _history(data_dir, services_dir, long, rounds=rounds)),
        *attempt("a long queue", lambda: _queue(data_dir, services_dir, many, rounds=rounds)),
    ]


@contextmanager
def _running(data_dir: Path, services_dir: Path) -> Iterator[Product]:
    product = Product(data_dir, services_dir, WORKER_SLOTS=str(SLOTS))
    try:
        yield product
    finally:
        product.stop()


def _history(data_dir: Path, services_dir: Path, long: int, *, rounds: int) -> list[Row]:
    short_dir = data_dir.with_name("growth-short")
    for place, total in ((short_dir, SHORT), (data_dir, long)):
        with _running(place, services_dir) as product:
            skewed.seed_history(product.database_url, total // 10)
            # Deployments of today with low IDs, as if the clock had been wrong.
            for _ in range(OUT_OF_ORDER):
                _start(product)
            skewed.seed_history(product.database_url, total)
    starts: dict[Path, list[float]] = {short_dir: [], data_dir: []}
    for place in [short_dir, data_dir] * STARTS:
        with _running(place, services_dir) as product:
            starts[place].append(1000 * product.started_in)
    # Both run at the same time and answer in turn, because the machine can get slower or faster over time.
    with _running(short_dir, services_dir) as few, _running(data_dir, services_dir) as many:
        products = (few, many)
        small, large = _in_turn(products, rounds)
        for measured, place, product in zip((small, large), (short_dir, data_dir), products, strict=True):
            measured["POST a deployment"] = Measured(median([_start(product) for _ in range(rounds)]), 0)
            measured["start of the server"] = Measured(median(starts[place]), 0)
    slowest = sorted(small, key=lambda name: large[name].ms / small[name].ms, reverse=True)
    return [
        Row(
            what=f"{name}: {long} vs. {SHORT} deployments, skewed",
            measured=f"{large[name].ms:.1f} ms",
            baseline=f"{small[name].ms:.1f} ms",
            ratio=f"{large[name].ms / small[name].ms:.2f}",
            goal=f"≤ {HISTORY_GOAL}",
            good=large[name].ms / small[name].ms <= HISTORY_GOAL,
        )
        for name in slowest
    ]


def _in_turn(products: Sequence[Product], rounds: int) -> list[dict[str, Measured]]:
    """Measure each request of `_paths` on all products before the next one."""
    requests = [Requests(product, rounds) for product in products]
    paths = [_paths(product.service_ids()) for product in products]
    found: list[dict[str, Measured]] = [{} for _ in products]
    for name in paths[0]:
        for measured, request, own in zip(found, requests, paths, strict=True):
            measured[name] = request.measure(own[name])
    return found


def _start(product: Product) -> float:
    service_id = product.service_ids()["one-step"]
    began = time.perf_counter()
    deployment_id = product.deploy(service_id)
    took = 1000 * (time.perf_counter() - began)
    product.wait_for(deployment_id)
    return took


def _paths(services: dict[str, int]) -> dict[str, str]:
    normal, old, never = (services[name] for name in ("sleeper-01", skewed.OLD, skewed.NEVER[0]))
    filters: dict[str, dict[str, Any]] = {
        "no filter": {},
        "a service": {"service_id": normal},
        "an old service": {"service_id": old},
        "a service without deployments": {"service_id": never},
        "a user": {"user": "admin"},
        "a rare user": {"user": "eve"},
        "an unknown user": {"user": "nobody"},
        "an origin": {"origin": "GitHub"},
        "an unknown origin": {"origin": "nowhere"},
        "a state": {"state": "failure"},
        "a rare state": {"state": "cancelled"},
        "a user and an origin that never meet": {"user": "bob", "origin": "GitHub"},
        "a service and a user that never meet": {"service_id": normal, "user": "bob"},
        "an old service and a state": {"service_id": old, "state": "success"},
        "since": {"since": "2026-01-01T00:00:00Z"},
        "until": {"until": "2020-01-02T00:00:00Z"},
        "a time without deployments": {"since": "2019-01-01T00:00:00Z", "until": "2019-02-01T00:00:00Z"},
        "a user, long ago": {"user": "bob", "until": "2020-01-03T00:00:00Z"},
        "a state, in a day": {"state": "failure", "since": "2020-01-02T00:00:00Z", "until": "2020-01-03T00:00:00Z"},
    }
    return {
        "GET /services/": "/services/",
        "service page": f"/services/{normal}",
        "service page, old service": f"/services/{old}",
        "service page, no deployments": f"/services/{never}",
        "statistics": f"/services/{normal}/statistics",
        "statistics, old service": f"/services/{old}/statistics",
        "GET /queue/": "/queue/",
        **{f"filter: {name}": f"/deployments/?{urlencode(query)}" for name, query in filters.items()},
    }


def _queue(data_dir: Path, services_dir: Path, many: int, *, rounds: int) -> list[Row]:
    found: list[tuple[dict[str, Measured], float]] = []
    for waiting in (FEW, many):
        with _running(data_dir, services_dir) as product:
            services = product.service_ids()
            held = [product.deploy(services[f"hold-{number}"]) for number in range(SLOTS)]
            _wait(lambda product=product: product.call("GET", "/workers/")[0]["running"], SLOTS)
            skewed.seed_queue(product.database_url, waiting)
            requests = Requests(product, rounds)
            paths = {"GET /queue/": "/queue/", "GET /services/": "/services/"}
            paths["service page"] = f"/services/{services['sleeper-01']}"
            pages = {name: requests.measure(path) for name, path in paths.items()}
            found.append((pages, _drain(product, held)))
            skewed.clear_queue(product.database_url)
    (few_pages, few_rate), (many_pages, many_rate) = found
    return [
        _queue_row(
            f"drain rate: {many} vs. {FEW} waiting", f"{many_rate:.1f}/s", f"{few_rate:.1f}/s", many_rate / few_rate
        ),
        *(
            _queue_row(
                f"{name}: {many} vs. {FEW} waiting",
                f"{many_pages[name].ms:.1f} ms, {many_pages[name].kb:.0f} kB",
                f"{few_pages[name].ms:.1f} ms, {few_pages[name].kb:.0f} kB",
                few_pages[name].ms / many_pages[name].ms,
                kb=many_pages[name].kb,
            )
            for name in many_pages
        ),
    ]


def _queue_row(what: str, measured: str, baseline: str, ratio: float, *, kb: float = 0) -> Row:
    return Row(
        what=what,
        measured=measured,
        baseline=baseline,
        ratio=f"{ratio:.2f}",
        goal=f"≥ {QUEUE_GOAL}" + (f", ≤ {PAGE_GOAL_KB} kB" if kb else ""),
        good=ratio >= QUEUE_GOAL and kb <= PAGE_GOAL_KB,
    )


def _drain(product: Product, held: list[int]) -> float:
    """Return the deployments per second that a worker runs once its slots are free."""
    for deployment_id in held:
        product.call("POST", f"/deployments/{deployment_id}/cancel")
    for deployment_id in held:
        product.wait_for(deployment_id, success=False)
    done = skewed.count_done(product.database_url)
    began = time.monotonic()
    while (now := skewed.count_done(product.database_url)) < done + DRAINED and time.monotonic() < began + TIMEOUT:
        time.sleep(0.02)
    return (now - done) / (time.monotonic() - began)


def _wait(read: Any, count: int) -> None:
    end = time.monotonic() + TIMEOUT
    while len(found := read()) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"Only {json.dumps(found)} are running.")
        time.sleep(0.05)
