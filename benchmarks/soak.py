"""A long soak of the embedded server with all that goes wrong in half an hour of a real one.

    python -m benchmarks.soak [--seconds=1800] [--load=0.8] [--clients=16] [--json=FILE]
        [--output=docs/serving_security.md]

Clients send requests at 80 % of the rate that the server was measured to have, by REST and gRPC,
and check each reply against the bytes of each version. Meanwhile, in turn: a good version is
published, or a corrupt one; clients read their replies slowly, leave in the middle of a request, or
never end one; the disk of the log is full; and the server has no file descriptor left. Printed are
requests lost, replies of two versions, how each trouble was met, and the memory by minutes. Exit
code 1 if any request was lost, a reply mixed, memory grew, or the server did not end. --output
replaces the table between the two marks in that file.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import load, serving
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_ROWS = (1, 3, 8, 70)
_SEEDS = 24  # requests that differ
_MARKS = "<!-- soak: python -m benchmarks.soak writes this table -->", "<!-- /soak -->"
_TROUBLES = ("version", "corrupt", "slow", "vanish", "half", "descriptors", "log")


class Soak:
    """Clients at a rate, and troubles in turn.

    Args:
      server: a `serving.Server` that logs to `log`.
      base: the folder of points, with version 1.
      sources: good versions that are published in turn.
      log: the access log: a link that is moved between a file and /dev/full.
      clients: how many; every other one speaks gRPC.
      rate: requests a second of all together.
      seconds: how long.
      seed: of the troubles' order.
    """

    def __init__(
        self,
        server: Any,
        base: Path,
        sources: list[Path],
        log: Path,
        clients: int,
        rate: float,
        seconds: float,
        seed: int = 0,
    ):
        self.server, self.base, self.sources, self.log = server, base, sources, log
        self.clients, self.rate, self.seconds = clients, rate, seconds
        self._random = random.Random(seed)
        self.known: list[dict[int, list[bytes]]] = []
        self.asked = self.answered = self.mixed = self.late = 0
        self.lost: collections.Counter[str] = collections.Counter()
        self.troubles: collections.Counter[str] = collections.Counter()
        self.met: collections.Counter[str] = collections.Counter()
        self.by_source: collections.Counter[int] = collections.Counter()
        self.milliseconds: list[float] = []
        self.memory: list[tuple[float, float]] = []
        self._number, self._good = 1, 0

    def run(self) -> None:
        """Runs it."""
        self.known = [self._rows_of(source) for source in self.sources]
        asyncio.run(self._run())

    @staticmethod
    def _rows_of(source: Path) -> dict[int, list[bytes]]:
        """Request -> its rows by this version, from a session of our own."""
        from export import runtime

        with runtime.ServedModel(source) as served:
            return {
                request: [
                    row.tobytes()
                    for row in served.run(
                        "sample", {"seeds": serving.seed_rows(request, _ROWS[request % 4])}
                    )["samples"]
                ]
                for request in range(_SEEDS)
            }

    async def _run(self) -> None:
        self._began = time.monotonic()
        self._end = self._began + self.seconds
        jobs = [self._client(i) for i in range(self.clients)]
        await asyncio.gather(self._trouble(), self._watch(), *jobs)
        self.seconds = time.monotonic() - self._began

    async def _client(self, number: int) -> None:
        api = "grpc" if number % 2 else "rest"
        client: Any = None
        request, pause = number, self.clients / self.rate
        due = time.monotonic() + pause * number / self.clients
        try:
            while (now := time.monotonic()) < self._end:
                if now < due:
                    await asyncio.sleep(due - now)
                else:
                    self.late += 1  # the machine is busier than when the rate was measured
                due = max(due + pause, now - pause)
                if client is None:
                    client = await self._connect(api)
                request = (request + 1) % _SEEDS
                seeds = serving.seed_rows(request, _ROWS[request % 4])
                data = client.encode("points", "sample", seeds)
                self.asked += 1
                began = time.monotonic()
                try:
                    reply = await asyncio.wait_for(client.ask(data), 60)
                except Exception as error:
                    self.lost[f"{api}: {type(error).__name__}: {error}"[:200]] += 1
                    client.close()
                    client = None
                    continue
                self.answered += 1
                self.milliseconds.append(1e3 * (time.monotonic() - began))
                self._check(api, request, reply)
        finally:
            if client:
                client.close()

    async def _connect(self, api: str) -> Any:
        """A new connection; during a shortage of descriptors it is tried again, as clients do."""
        while True:
            client = (load.HttpClient if api == "rest" else load.GrpcClient)(
                *(self.server.rest if api == "rest" else self.server.grpc)
            )
            try:
                await client.connect()
                return client
            except OSError:
                await asyncio.sleep(0.2)

    def _check(self, api: str, request: int, reply: bytes) -> None:
        rows = load.DECODE[api](reply)
        for i, known in enumerate(self.known):
            if known[request] == rows:
                self.by_source[i] += 1
                return
        self.mixed += 1

    async def _watch(self) -> None:
        while (now := time.monotonic()) < self._end:
            self.memory.append((now - self._began, self.server.memory()))
            await asyncio.sleep(min(1.0, self.seconds / 60))

    # Troubles.

    async def _trouble(self) -> None:
        kinds: list[str] = []
        rest = max(0.2, min(4.0, self.seconds / 40))
        while time.monotonic() + 3 * rest < self._end:
            if not kinds:
                kinds = self._random.sample(_TROUBLES, len(_TROUBLES))
            kind = kinds.pop()
            self.troubles[kind] += 1
            try:
                await asyncio.wait_for(getattr(self, f"_{kind}")(), 60)
                self.met[kind] += 1
            except Exception as error:
                self.lost[f"trouble {kind}: {type(error).__name__}: {error}"[:200]] += 1
            await asyncio.sleep(rest)

    async def _publish(self, source: Path, damage: bool) -> int:
        self._number += 1
        building = self.base / f".building-{self._number}"
        await asyncio.to_thread(shutil.copytree, source, building)
        if damage:
            data = next((building / "variables").glob("*.data*"))
            with data.open("r+b") as file:
                file.write(os.urandom(64))
        building.rename(self.base / str(self._number))
        return self._number

    async def _state(self, number: int) -> str:
        client = await self._connect("rest")
        try:
            path = f"/v1/models/points/versions/{number}"
            reply = await client.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        except RuntimeError:  # not seen yet
            return ""
        finally:
            client.close()
        return json.loads(reply)["model_version_status"][0]["state"]

    async def _version(self) -> None:
        """A good version is published, and serves; old ones are removed."""
        self._good += 1
        number = await self._publish(self.sources[self._good % len(self.sources)], False)
        while await self._state(number) != "AVAILABLE":
            await asyncio.sleep(0.2)
        there = sorted(
            (p for p in self.base.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name)
        )
        for old in there[:-2]:
            await asyncio.to_thread(shutil.rmtree, old)

    async def _corrupt(self) -> None:
        """A version with wrong bytes is published, does not serve, and is removed."""
        number = await self._publish(self.sources[0], True)
        while (state := await self._state(number)) != "END":
            if state == "AVAILABLE":
                raise RuntimeError("a corrupt version serves")
            await asyncio.sleep(0.2)
        await asyncio.to_thread(shutil.rmtree, self.base / str(number))

    def _post(self, rows: int) -> bytes:
        return load.HttpClient("localhost", 0).encode(
            "points", "sample", serving.seed_rows(1, rows)
        )

    async def _slow(self) -> None:
        """A client that reads a large reply some bytes at a time."""
        reader, writer = await asyncio.open_connection(*self.server.rest, limit=2**12)
        writer.write(self._post(1000))
        for _ in range(10):
            await reader.read(100)
            await asyncio.sleep(0.05)
        writer.close()

    async def _vanish(self) -> None:
        """Clients that leave as soon as they have asked."""
        for _ in range(20):
            _, writer = await asyncio.open_connection(*self.server.rest)
            writer.write(self._post(1000))
            await writer.drain()
            writer.transport.abort()

    async def _half(self) -> None:
        """Clients that never end what they began."""
        writers = []
        for i in range(50):
            _, writer = await asyncio.open_connection(*self.server.rest)
            data = self._post(1000)
            writer.write(data[: 1 + i * len(data) // 60])
            writers.append(writer)
        await asyncio.sleep(0.5)
        for writer in writers:
            writer.close()

    async def _descriptors(self) -> None:
        """No descriptor is left: new connections wait or fail, those that are there go on."""
        pid = self.server.process.pid
        used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        kept = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        others = []
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, kept[1]))
            for _ in range(20):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(self.server.rest)
                others.append(one)
            await asyncio.sleep(1.0)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, kept)
            for one in others:
                one.close()
        client = await self._connect("rest")  # and now new ones are served again
        try:
            await asyncio.wait_for(client.ask(self._post(1)), 30)
        finally:
            client.close()

    async def _log(self) -> None:
        """The log's disk is full for a while."""
        real = self.log.with_suffix(".file")
        self._point(Path("/dev/full"))
        await asyncio.sleep(2.5)
        self._point(real)

    def _point(self, target: Path) -> None:
        new = self.log.with_suffix(".new")
        new.symlink_to(target)
        new.replace(self.log)

    def report(self) -> dict[str, Any]:
        """What happened."""
        rss = [m for _, m in self.memory]
        third = max(1, len(rss) // 3)
        minutes = collections.defaultdict(list)
        for second, m in self.memory:
            minutes[int(second // 60)].append(m)
        return {
            "seconds": self.seconds,
            "rate_asked_for": self.rate,
            "asked": self.asked,
            "answered": self.answered,
            "lost": sum(self.lost.values()),
            "reasons": dict(self.lost),
            "mixed": self.mixed,
            "late": self.late,
            "by_source": dict(sorted(self.by_source.items())),
            "troubles": dict(self.troubles),
            "met": dict(self.met),
            "milliseconds": {
                name: serving.quantile(self.milliseconds, q)
                for name, q in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0))
            }
            if self.milliseconds
            else {},
            "mib_by_minute": [round(statistics.mean(minutes[k]), 1) for k in sorted(minutes)],
            # Of the last third over the one before: the first has what grows once.
            "mib_growth": statistics.mean(rss[-third:]) - statistics.mean(rss[-2 * third : -third]),
            "mib_start": rss[0],
        }


def failed(result: dict[str, Any], code: int | None) -> list[str]:
    """What a soak found that must not be."""
    found = []
    if result["lost"]:
        found.append(f"{result['lost']} lost")
    if result["mixed"]:
        found.append(f"{result['mixed']} mixed")
    if result["met"].get("version") and len(result["by_source"]) < 2:
        found.append("no reply of a new version")
    if result["met"] != result["troubles"]:
        found.append("a trouble was not met")
    if result["mib_growth"] > max(8.0, 0.03 * result["mib_start"]):
        found.append(f"memory grew by {result['mib_growth']:.1f} MiB")
    if code != 0:
        found.append(f"the server ended with {code}")
    return found


def table(result: dict[str, Any], wrong: list[str], loads: tuple[float, float]) -> str:
    """Markdown."""
    ms, rss = result["milliseconds"], result["mib_by_minute"]
    troubles = ", ".join(f"{kind} {n}" for kind, n in sorted(result["troubles"].items()))
    met = sum(result["met"].values())
    rows = {
        "seconds; load average before, after": (
            f"{result['seconds']:.0f}; {loads[0]:.1f}, {loads[1]:.1f}"
        ),
        "requests: asked for a second, sent, answered": (
            f"{result['rate_asked_for']:.0f}, {result['asked']:,}, {result['answered']:,}"
        ),
        "**lost**": f"**{result['lost']}**",
        "**replies that mix versions**": f"**{result['mixed']}**",
        "sent later than the rate asked for": f"{result['late']:,}",
        "troubles": f"{troubles}; {met} of {sum(result['troubles'].values())} were met",
        "milliseconds: p50 / p99 / worst": (
            f"{ms['p50']:.1f} / {ms['p99']:.1f} / {ms['worst']:.0f}" if ms else ""
        ),
        "server's resident MiB: first minute, middle, last": (
            f"{rss[0]:.0f}, {rss[len(rss) // 2]:.0f}, {rss[-1]:.0f}"
        ),
        "growth of the last third over the one before": f"{result['mib_growth']:+.1f} MiB",
        "lines of the log: written, lost to the full disk": (
            f"{result['log_lines']:,}, {result['log_lost']:,}"
        ),
        "verdict": ", ".join(wrong) or "0 lost, 0 mixed, memory flat",
    }
    return "| soak | |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in rows.items())


def capacity(server: Any, seconds: float = 3.0) -> float:
    """Requests a second of the soak's mix that 8 clients get answered."""

    async def one(i: int) -> int:
        client: Any = (load.GrpcClient if i % 2 else load.HttpClient)(
            *(server.grpc if i % 2 else server.rest)
        )
        await client.connect()
        num, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            data = client.encode("points", "sample", serving.seed_rows(num, _ROWS[num % 4]))
            load.DECODE["grpc" if i % 2 else "rest"](await client.ask(data))
            num += 1
        client.close()
        return num

    async def all_() -> float:
        return sum(await asyncio.gather(*map(one, range(8)))) / seconds

    return asyncio.run(all_())


def main() -> int:
    """The command."""
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers.system.files import write_json

    f, began = flags.FLAGS, os.getloadavg()[0]
    if f.output:  # not after half an hour
        serving.find_marks(Path(f.output), _MARKS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if f.points:
            sources = sorted(p for p in Path(f.points).iterdir() if p.name.isdecimal())[:2]
        else:
            sources = [serving.publish_points(folder / f"source{i}", i) for i in range(2)]
        base = folder / "models" / "points"
        shutil.copytree(sources[0], base / "1")
        log = folder / "access.log"
        log.symlink_to(log.with_suffix(".file"))
        with serving.Server(
            {"points": base}, folder, f"--access_log={log}", "--file_system_poll_wait_seconds=0.5"
        ) as server:
            most = capacity(server)
            print(f"capacity: {most:.0f} requests/s", flush=True)
            rate = f.load * most
            soak = Soak(server, base, sources, log, f.clients, rate, f.seconds, f.seed)
            soak.run()
        result = soak.report()
        lines = [json.loads(x) for x in log.with_suffix(".file").read_text().split("\n") if x]
        result["log_lines"], result["log_lost"] = len(lines), max(x.get("lost", 0) for x in lines)
    wrong = failed(result, server.code)
    if f.json:
        write_json(Path(f.json), result)
    text = table(result, wrong, (began, os.getloadavg()[0]))
    if f.output:
        serving.replace_between(Path(f.output), _MARKS, text)
    print(text)
    for key, value in result.items():
        print(f"{key}: {json.dumps(value)}")
    print(f"failed: {', '.join(wrong)}" if wrong else "0 lost, 0 mixed, memory flat")
    return 1 if wrong else cli.DONE


if __name__ == "__main__":
    flags.DEFINE_float("seconds", 1800.0, "How long.", lower_bound=5.0)
    flags.DEFINE_float("load", 0.8, "Of the measured rate.", lower_bound=0.01, upper_bound=1.0)
    flags.DEFINE_integer("clients", 16, "How many.", lower_bound=2)
    flags.DEFINE_integer("seed", 0, "Of the order of troubles.")
    flags.DEFINE_string("points", None, "A published model of points with two versions instead.")
    flags.DEFINE_string("json", None, "Also write the figures there.")
    flags.DEFINE_string("output", None, "A file whose table is replaced.")
    cli.main(main, sys.argv)
