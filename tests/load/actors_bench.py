"""Measures the actors' runtime: `python tests/load/actors_bench.py`. Not a test; prints medians and rates."""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import statistics
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors.base import BaseActor
from actors.bridge import Bridge
from actors.directory import Directory
from actors.messages import Key
from actors.runtime import PoolRuntime
from actors.supervisor import Supervisor
from actors.timers import Timers
from platformd import clock


class Counter(BaseActor):
    def __init__(self, key: Key) -> None:
        super().__init__(key)
        self.seen = 0

    def receive(self, message: Any) -> Any:
        self.seen += 1
        return message


class Relay(BaseActor):
    """Passes a number on to the next key, as link → deployment → task → keeper do."""

    directory: Directory
    arrived = threading.Lock()

    def receive(self, hops: int) -> None:
        if hops:
            self.directory.tell(Key("relay", str(hops)), hops - 1)
        else:
            self.arrived.release()


class World:
    def __init__(self, threads: int = 2) -> None:
        self.runtime = PoolRuntime(threads)
        self.directory = Directory(self.runtime, Supervisor())
        self.directory.register("counter", Counter, capacity=100_000)
        self.directory.register("relay", Relay)
        Relay.directory = self.directory
        self.runtime.start()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.drop()
        self.runtime.stop()


def _micros(samples: list[float]) -> dict[str, float]:
    ordered = sorted(samples)
    return {
        "p50_us": round(statistics.median(ordered) * 1e6, 1),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
    }


def _timed(call: Callable[[], object], times: int, gap: float = 0.0) -> dict[str, float]:
    samples = []
    for _ in range(times):
        if gap:
            time.sleep(gap)
        begun = time.perf_counter()
        call()
        samples.append(time.perf_counter() - begun)
    return _micros(samples)


def ask_blocking() -> dict[str, float]:
    with World() as world:
        key = Key("counter", "1")
        return _timed(lambda: world.directory.ask(key, 1).get(timeout=5), 5000)


def ask_asyncio(uv: bool) -> dict[str, float]:
    async def main() -> dict[str, float]:
        with World() as world:
            bridge, key, samples = Bridge(world.directory), Key("counter", "1"), []
            for _ in range(5000):
                begun = time.perf_counter()
                await bridge.ask_async(key, 1)
                samples.append(time.perf_counter() - begun)
            return _micros(samples)

    if uv:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())
    return asyncio.run(main())


def ask_asyncio_concurrent() -> dict[str, float]:
    async def main() -> float:
        with World() as world:
            bridge = Bridge(world.directory)
            begun = time.perf_counter()
            for start in range(0, 10_000, 200):
                await asyncio.gather(
                    *(bridge.ask_async(Key("counter", str(i)), 1) for i in range(start, start + 200))
                )
            return 10_000 / (time.perf_counter() - begun)

    return {"per_s": round(asyncio.run(main()))}


def relay(hops: int, gap: float = 0.0) -> dict[str, float]:
    with World() as world:
        Relay.arrived.acquire()

        def send() -> None:
            world.directory.tell(Key("relay", "first"), hops - 1)
            Relay.arrived.acquire()

        result = _timed(send, 300 if gap else 3000, gap)
        Relay.arrived.release()
        return result


def fan_out(keys: int = 10_000, messages: int = 300_000, senders: int = 1) -> dict[str, float]:
    with World() as world:
        names = [Key("counter", str(i)) for i in range(keys)]
        for key in names:
            world.directory.tell(key, 0)
        world.directory.settle(30)

        def send() -> None:
            for key in itertools.islice(itertools.cycle(names), messages // senders):
                world.directory.tell(key, 1)

        threads = [threading.Thread(target=send) for _ in range(senders)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.directory.settle(60)
        return {"per_s": round(messages / (time.perf_counter() - begun))}


def fleet(count: int = 10_000) -> dict[str, float]:
    with World() as world:
        gc.collect()
        before = psutil.Process().memory_info().rss
        begun = time.perf_counter()
        for i in range(count):
            world.directory.tell(Key("counter", f"{i:036d}"), 1)
        world.directory.settle(60)
        created = time.perf_counter() - begun
        gc.collect()
        grown = psutil.Process().memory_info().rss - before
        begun = time.perf_counter()
        world.directory.drop()
        dropped = time.perf_counter() - begun
        return {
            "created_per_s": round(count / created),
            "bytes_each": round(grown / count),
            "dropped_ms": round(dropped * 1e3, 1),
        }


def timers(count: int = 100_000) -> dict[str, float]:
    wheel = Timers(lambda _key, _fired: None)
    wheel.start()
    keys = [Key("task", str(i)) for i in range(1000)]
    far = clock.steady() + timedelta(hours=1)
    begun = time.perf_counter()
    for i in range(count):
        wheel.set(keys[i % 1000], "idle", far)
        wheel.clear(keys[i % 1000], "idle")
    each = (time.perf_counter() - begun) / count
    left = len(wheel._heap)
    wheel.stop()
    return {"set_and_clear_us": round(each * 1e6, 2), "left_in_heap": left}


MEASUREMENTS: dict[str, Callable[[], dict[str, float]]] = {
    "memory, creation, drop of 10,000": fleet,
    "100,000": lambda: fleet(100_000),
    "ask, blocking": ask_blocking,
    "ask, asyncio": lambda: ask_asyncio(uv=False),
    "ask, uvloop": lambda: ask_asyncio(uv=True),
    "ask, asyncio, 200 at once": ask_asyncio_concurrent,
    "tell, thread to actor and back": lambda: relay(1),
    "relay over 3 actors and back": lambda: relay(3),
    "relay over 3 actors, 20 ms apart": lambda: relay(3, 0.02),
    "tell over 10,000 actors, 1 sender": fan_out,
    "tell over 10,000 actors, 4 senders": lambda: fan_out(senders=4),
    "timers": timers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="part of a measurement's name")
    parser.add_argument("--switch-interval", type=float, default=0.0005)
    options = parser.parse_args()
    sys.setswitchinterval(options.switch_interval)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for name, measure in MEASUREMENTS.items():
        if options.only in name:
            sys.stdout.write(f"{name:40} {json.dumps(measure())}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
