"""The embedded server under load: a soak with a swap of versions, micro-batching, REST's overhead.

    python -m benchmarks.serving [--seconds=60] [--clients=32] [--rounds=7] [--round_seconds=8]
        [--parts=soak,throughput,overhead] [--output=docs/serving_speed.md] [--json=FILE]

Without --points and --images small models with random weights are published into a temporary
folder: what is measured does not depend on the weights. `python -m export.serve` runs as a process
of its own, on loopback; the load comes from this process, which shares the machine's cores. Exit
code 1 if the soak found a failure.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import load
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_SOAK_SEEDS = 24  # requests that differ, over and over
_PUBLISH = """
import sys
from pathlib import Path
from benchmarks import serving
from export import strategy, verify
from tf_mixed_nash.models import mlp
import tensorflow
print("ready", flush=True)
sys.stdin.readline()
print(serving.publish_points(Path(sys.argv[1]), int(sys.argv[2])), flush=True)
"""

# grpc's own server, whose handler does nothing: what any server on it costs at least.
_EMPTY = """
import grpc, grpc.aio, uvloop, asyncio

async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def answer(data, context):
        return bytes(80)

    handler = grpc.unary_unary_rpc_method_handler(answer)

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details):
            return handler

    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""
_FULL = 64  # rows of a full batch
_CASES = ("points/rest", "points/grpc", "images/rest", "images/grpc")


# Models.


def _publish(base: Path, networks: Sequence[Any], latent_dim: int) -> Path:
    import tensorflow as tf

    from export.strategy import publish_strategy
    from tf_mixed_nash.strategies.mixed import MixedStrategy
    from tf_mixed_nash.types import Measure

    atoms = tf.stack([network.initial() for network in networks])
    weights = tf.fill([len(networks)], 1.0 / len(networks))
    strategy = MixedStrategy(Measure(atoms, weights), networks[0], latent_dim)
    return publish_strategy(strategy, base, {"dataset": "none: random weights"})


def publish_points(base: Path, seed: int = 0) -> Path:
    """Publishes 8 MLPs 2-512-512-512-2 with random weights of a seed."""
    from tf_mixed_nash.models import mlp

    return _publish(base, [mlp(2, 2, seed=100 * seed + j) for j in range(8)], 2)


def publish_images(base: Path, seed: int = 0) -> Path:
    """Publishes 3 DCGAN generators of 32 x 32 grey images, width 32, with random weights."""
    from tf_mixed_nash.models.dcgan import dcgan_generator

    networks = [dcgan_generator(32, 1, 100, 32, "layer", seed=100 * seed + j) for j in range(3)]
    return _publish(base, networks, 100)


def seed_rows(seed: int, num: int):
    """(seed, 0) ... (seed, num - 1): int64 [num, 2]."""
    import numpy as np

    return np.stack([np.full(num, seed), np.arange(num)], axis=1).astype(np.int64)


# The server.


class Server:
    """`python -m export.serve` as a process: `with Server(models) as server`.

    Args:
      models: name -> base folder.
      folder: for its config file and its log.
      arguments: more flags.

    Attributes:
      rest: (host, port).
      grpc: (host, port).
    """

    def __init__(self, models: dict[str, Path], folder: Path, *arguments: str):
        name = f"server-{time.monotonic_ns()}"
        entries = (
            f'config {{ name: "{model}" base_path: "{base}" }}' for model, base in models.items()
        )
        config = folder / f"{name}.config"
        config.write_text(f"model_config_list {{ {' '.join(entries)} }}\n")
        self.log = folder / f"{name}.log"
        self._command = [
            *(sys.executable, "-m", "export.serve", f"--model_config_file={config}"),
            *("--rest_api_port=0", "--port=0", *arguments),
        ]

    def __enter__(self) -> Server:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        found = {}
        for line in self.process.stdout:
            kind, _, rest = line.partition(" ")
            if kind in ("REST", "gRPC"):
                address = rest.strip().removeprefix("http://").split("/")[0]
                host, port = address.rsplit(":", 1)
                found[kind] = host, int(port)
            if kind == "gRPC":
                break
        if len(found) < 2:
            raise RuntimeError(f"The server did not start: {self.log.read_text()}")
        self.rest, self.grpc = found["REST"], found["gRPC"]
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        try:
            self.code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.code = self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def memory(self) -> float:
        """Resident MiB."""
        return memory_of(str(self.process.pid))

    def cpu_seconds(self) -> float:
        """Processor seconds that it has used."""
        return cpu_of(self.process.pid)


def cpu_of(process: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(process: str) -> float:
    """Resident MiB of a process: its number, or "self"."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 2**10


# The soak.


class Soak:
    """Clients that never rest, a version that is swapped in, and a broken one beside it.

    Args:
      server: serves `points`, and `images` beside it: a `Server`, or what has its `rest`, `grpc`
        and `memory`.
      base: the folder of points.
      images: whether half of the clients ask for PNGs of the model `images`.
      publish: publishes the next version of points; runs on a thread.
      clients: how many; every other one speaks gRPC.
      seconds: how long.
      pause: seconds that a client rests before each request.
      patience: more seconds, at most, for a swap that is not over.
    """

    def __init__(
        self,
        server: Any,
        base: Path,
        images: bool,
        publish: Callable[[], Path],
        clients: int,
        seconds: float,
        pause: float = 0.0,
        patience: float = 0.0,
    ):
        self.pause, self.patience = pause, patience
        self.server, self.base, self.images = server, base, images
        self.publish, self.clients, self.seconds = publish, clients, seconds
        # (api, model, request) -> reply -> how often. Replies are compared afterwards.
        self.replies: dict[tuple, collections.Counter[bytes]] = collections.defaultdict(
            collections.Counter
        )
        self.failures: collections.Counter[str] = collections.Counter()
        self.milliseconds: dict[str, list[float]] = {"rest": [], "grpc": []}
        self.memory: list[tuple[float, float]] = []
        self.published: float | None = None
        self.swapped: float | None = None

    @staticmethod
    def rows(request: int) -> int:
        """How many rows a request asks for: 1 to 70, which is more than a batch."""
        return (1, 3, 8, 70)[request % 4]

    def run(self) -> None:
        """Runs it."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._began = time.monotonic()
        self._end = self._began + self.seconds
        jobs = [self._client(i) for i in range(self.clients)]
        swap = asyncio.create_task(self._swap())
        await asyncio.gather(self._watch(), *jobs)
        self.seconds = time.monotonic() - self._began
        await swap

    def _goes_on(self) -> bool:
        now = time.monotonic()
        # A second of replies by the new version.
        over = self.swapped and now > self.swapped + 1.0
        return now < self._end or (not over and now < self._end + self.patience)

    async def _client(self, number: int) -> None:
        api = "grpc" if number % 2 else "rest"
        model = "images" if self.images and number % 4 > 1 else "points"
        signature = "sample_png" if model == "images" else "sample"
        if api == "rest":
            client: load.Client = load.HttpClient(*self.server.rest)
        else:
            client = load.GrpcClient(*self.server.grpc)
        request = number
        try:
            await client.connect()
            while self._goes_on():
                await asyncio.sleep(self.pause)
                request = (request + 1) % _SOAK_SEEDS
                seeds = seed_rows(request, self.rows(request))
                data = client.encode(model, signature, seeds)
                began = time.monotonic()
                reply = await asyncio.wait_for(client.ask(data), 60)
                now = time.monotonic()
                self.milliseconds[api].append(1e3 * (now - began))
                counts = self.replies[api, model, request]
                if model == "points" and reply not in counts and counts and not self.swapped:
                    self.swapped = now
                counts[reply] += 1
        except Exception as error:
            self.failures[f"{api} {model}: {type(error).__name__}: {error}"[:200]] += 1
        finally:
            client.close()

    async def _watch(self) -> None:
        while self._goes_on():
            now = time.monotonic()
            self.memory.append((now - self._began, self.server.memory()))
            await asyncio.sleep(min(0.25, self.seconds / 40))

    async def _swap(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.1 * self.seconds)
        make_half_version(self.base, 99)
        await asyncio.sleep(0.05 * self.seconds)
        before = set(self.base.iterdir())
        job = loop.run_in_executor(None, self.publish)
        # The publisher's process ends later than its version appears.
        while not self.published:
            new = [p for p in set(self.base.iterdir()) - before if p.name.isdecimal()]
            if new or job.done():
                self.published = time.monotonic()
            await asyncio.sleep(0.01)
        try:
            await job
        except Exception as error:
            self.failures[f"publisher: {error}"[:200]] += 1

    def report(self) -> dict[str, Any]:
        """What happened; `failed` and `mixed` must be 0."""
        known = self._known()
        by_version: collections.Counter[str] = collections.Counter()
        mixed = 0
        for (api, model, request), counts in self.replies.items():
            for reply, num in counts.items():
                values = load.DECODE[api](reply)
                matches = [v for v, want in known[model, request].items() if want == values]
                if matches:
                    by_version[f"{model}/{matches[0]}"] += num
                else:
                    mixed += num
        num = sum(map(len, self.milliseconds.values()))
        rss = self._memory()
        return {
            "clients": self.clients,
            "seconds": self.seconds,
            "replies": num,
            "requests_per_second": num / self.seconds,
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures),
            "mixed": mixed,
            "by_version": dict(sorted(by_version.items())),
            "swap_seen_after_s": (
                self.swapped - self.published if self.swapped and self.published else None
            ),
            "milliseconds": {
                api: {"p50": quantile(ms, 0.5), "p99": quantile(ms, 0.99), "max": max(ms)}
                for api, ms in self.milliseconds.items()
                if ms
            },
            "resident_mib": rss,
        }

    def _known(self) -> dict[tuple[str, int], dict[str, list[bytes]]]:
        """(model, request) -> version -> its rows, from sessions of our own."""
        from export import publish, runtime

        known = collections.defaultdict(dict)
        for model, signature in (("points", "sample"), ("images", "sample_png")):
            if model == "images" and not self.images:
                continue
            base = self.base.parent / model
            for number in publish.versions(base):
                if not (base / str(number) / publish.MANIFEST).is_file():
                    continue  # the half-written one
                with runtime.ServedModel(base / str(number)) as served:
                    for request in range(_SOAK_SEEDS):
                        seeds = seed_rows(request, self.rows(request))
                        (values,) = served.run(signature, {"seeds": seeds}).values()
                        rows = [v if isinstance(v, bytes) else v.tobytes() for v in values]
                        known[model, request][str(number)] = rows
        return known

    def _memory(self) -> dict[str, float]:
        """Resident MiB; the first tenth, in which caches fill, is left out."""
        rest = [m for at, m in self.memory if at >= 0.1 * self.seconds]
        # What is left once the swap is over: nothing but requests.
        swapped = self.swapped - self._began + 2.0 if self.swapped else 0.0
        calm = min(max(swapped, 0.5 * self.seconds), 0.8 * self.seconds)
        last = [m for at, m in self.memory if at >= calm]
        third = max(1, len(last) // 3)
        return {
            "start": rest[0],
            "middle": rest[len(rest) // 2],
            "end": rest[-1],
            "most": max(rest),
            "growth": statistics.mean(last[-third:]) - statistics.mean(last[:third]),
            "growth_over_s": self.seconds - calm,
        }


def make_half_version(base: Path, number: int) -> Path:
    """A version folder as a careless copy leaves it: the graph, and half of the values."""
    folder = base / str(number)
    source = base / "1"
    (folder / "variables").mkdir(parents=True)
    shutil.copy(source / "saved_model.pb", folder)
    for path in (source / "variables").iterdir():
        data = path.read_bytes()
        (folder / "variables" / path.name).write_bytes(data[: len(data) // 2])
    return folder


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class Publisher:
    """Another process, as a trainer's, that publishes points when told to.

    Args:
      base: the folder of points.
      seed: of the weights.
    """

    def __init__(self, base: Path, seed: int):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PUBLISH, str(base), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # TensorFlow is there

    def publish(self) -> Path:
        """Publishes a version.

        Raises:
          RuntimeError: if it fails.
        """
        out, err = self._process.communicate("go\n")
        if self._process.returncode:
            raise RuntimeError(err.strip().splitlines()[-1])
        return Path(out.strip())


# Throughput.


def measure_throughput(
    folder: Path,
    points: Path,
    images: Path,
    rounds: int,
    seconds: float,
    in_flight: int,
    cases: Sequence[str],
) -> list[dict[str, Any]]:
    """Single-row requests per second with and without micro-batching, in alternating rounds."""
    models = {"points": points, "images": images}
    results = []
    with contextlib.ExitStack() as exits:
        servers = {
            name: exits.enter_context(
                Server(models, folder, "--access_log=", f"--enable_batching={value}")
            )
            for name, value in (("with", "true"), ("without", "false"))
        }
        for model, api in (case.split("/") for case in cases):
            signature = "sample_png" if model == "images" else "sample"
            rates = collections.defaultdict(list)
            cpu = collections.defaultdict(list)
            for i in range(-1, rounds):  # the first warms up
                for name in ("with", "without") if i % 2 else ("without", "with"):
                    server = servers[name]
                    address = server.rest if api == "rest" else server.grpc
                    before = server.cpu_seconds()
                    rate = load.run(load.drive(api, address, model, signature, in_flight, seconds))
                    if i >= 0:
                        rates[name].append(rate)
                        used = server.cpu_seconds() - before
                        cpu[name].append(1e3 * used / max(1.0, rate * seconds))
            ratios = [a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
            results.append(
                {
                    "model": model,
                    "api": api,
                    "in_flight": in_flight,
                    **{name: summary(values) for name, values in rates.items()},
                    "ratio": summary(ratios),
                    "server_cpu_ms_per_request": {
                        name: statistics.median(values) for name, values in cpu.items()
                    },
                }
            )
            print(_throughput_row(results[-1]), flush=True)
    return results


def measure_floor(points: Path, rounds: int, seconds: float, in_flight: int) -> dict[str, Any]:
    """What gRPC and the model cost by themselves, in milliseconds of the processor a request.

    grpc's server with an empty handler under the same load, and a call of a full batch of points in
    this process. `load_cpu_ms` is the load's own share.
    """
    from export import publish, runtime

    rates, cpu, own = [], [], []
    command = [sys.executable, "-c", _EMPTY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = "127.0.0.1", int(process.stdout.readline())
            for i in range(-1, rounds):
                before, mine = cpu_of(process.pid), time.process_time()
                drive = load.drive("grpc", address, "points", "sample", in_flight, seconds)
                rate = load.run(drive)
                if i >= 0:
                    rates.append(rate)
                    cpu.append(1e3 * (cpu_of(process.pid) - before) / (rate * seconds))
                    own.append(1e3 * (time.process_time() - mine) / (rate * seconds))
        finally:
            process.terminate()
    calls = 40
    with runtime.ServedModel(publish.find_version(points)) as served:
        for i in range(2 * calls):
            if i == calls:
                before = time.process_time()
            served.run("sample", {"seeds": seed_rows(i, _FULL)})
        model = 1e3 * (time.process_time() - before) / calls / _FULL
    return {
        "empty": summary(rates),
        "empty_cpu_ms": statistics.median(cpu),
        "load_cpu_ms": statistics.median(own),
        "model_cpu_ms": model,
    }


# Overhead.


def measure_overhead(folder: Path, images: Path, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of POST sample_png and of the bare call, alternating."""
    from export import runtime

    results = []
    with Server({"images": images}, folder, "--access_log=") as server:
        connection = http.client.HTTPConnection(*server.rest)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def post(seeds) -> None:
            body = {"signature_name": "sample_png", "instances": seeds.tolist()}
            connection.request("POST", "/v1/models/images:predict", json.dumps(body))
            reply = connection.getresponse()
            content = reply.read()
            if reply.status != 200:
                raise RuntimeError(content.decode())

        (version,) = [p for p in images.iterdir() if p.name.isdecimal()][-1:]
        with runtime.ServedModel(version) as served:
            ways = {"rest": post, "call": lambda seeds: served.run("sample_png", {"seeds": seeds})}
            for rows in (1, 16, 64):
                times = collections.defaultdict(list)
                for i in range(-5, repeats):
                    for name, way in ways.items():
                        seeds = seed_rows(i + 100, rows)
                        began = time.perf_counter()
                        way(seeds)
                        if i >= 0:
                            times[name].append(1e3 * (time.perf_counter() - began))
                more = [a - b for a, b in zip(times["rest"], times["call"], strict=True)]
                results.append(
                    {
                        "rows": rows,
                        **{f"{name}_ms": summary(values) for name, values in times.items()},
                        "overhead_ms": summary(more),
                    }
                )
                print(_overhead_row(results[-1]), flush=True)
        connection.close()
    return results


def replace_between(path: Path, marks: tuple[str, str], text: str) -> None:
    """Writes text between two marks of a file, each on a line of its own.

    Raises:
      InputError: if the marks are not there.
    """
    first, last = find_marks(path, marks)
    old = path.read_text()
    path.write_text(f"{old[:first]}{marks[0]}\n{text}{old[last:]}")


def find_marks(path: Path, marks: tuple[str, str]) -> tuple[int, int]:
    """Where two marks of a file are.

    Raises:
      InputError: if they are not there, one after the other.
    """
    old = path.read_text() if path.is_file() else ""
    first, last = (old.find(mark) for mark in marks)
    if not 0 <= first < last:
        raise InputError(
            f"{path} has no place for the table. Expected a file with the lines "
            f"{marks[0]} and {marks[1]}."
        )
    return first, last


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": statistics.median(values), "quartile_1": low, "quartile_3": high}


# Tables.


def _spread(s: dict[str, float], digits: int = 0) -> str:
    return (
        f"{s['median']:,.{digits}f} ({s['quartile_1']:,.{digits}f} to "
        f"{s['quartile_3']:,.{digits}f})"
    )


_THROUGHPUT = (
    "| model | protocol | with, requests/s | without | ratio | server CPU, ms/request |\n"
    "|---|---|---|---|---|---|"
)


def _throughput_row(r: dict[str, Any]) -> str:
    cpu = r["server_cpu_ms_per_request"]
    return (
        f"| {r['model']} | {r['api']} | {_spread(r['with'])} | {_spread(r['without'])} | "
        f"{_spread(r['ratio'], 2)} | {cpu['with']:.2f} / {cpu['without']:.2f} |"
    )


def _floor_text(floor: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """The row of the empty handler, and what bounds the ratio of points over gRPC."""
    empty, own = floor["empty_cpu_ms"], floor["load_cpu_ms"]
    row = f"| an empty handler | grpc | {_spread(floor['empty'])} | | | {empty:.2f} |\n"
    found = [r for r in results if (r["model"], r["api"]) == ("points", "grpc")]
    if not found:
        return row
    cpu = found[0]["server_cpu_ms_per_request"]
    least = empty + floor["model_cpu_ms"]
    return row + _BOUND.format(
        empty=empty,
        model=floor["model_cpu_ms"],
        own=own,
        least=least,
        without=cpu["without"],
        bound=(cpu["without"] + own) / (least + own),
        cost=cpu["with"],
        ratio=(cpu["without"] + own) / (cpu["with"] + own),
        only=floor["empty"]["median"] / found[0]["without"]["median"],
    )


_OVERHEAD = "| rows | POST, ms | bare call, ms | difference, ms |\n|---|---|---|---|"


def _overhead_row(r: dict[str, Any]) -> str:
    return (
        f"| {r['rows']} | {_spread(r['rest_ms'], 2)} | {_spread(r['call_ms'], 2)} | "
        f"{_spread(r['overhead_ms'], 2)} |"
    )


def _soak_table(r: dict[str, Any]) -> str:
    rss = r["resident_mib"]
    seen = r["swap_seen_after_s"]
    versions = ", ".join(f"{v}: {n:,}" for v, n in r["by_version"].items())
    latencies = "; ".join(
        f"{api} {ms['p50']:.1f} / {ms['p99']:.1f} / {ms['max']:.0f}"
        for api, ms in r["milliseconds"].items()
    )
    rows = {
        "clients, seconds": f"{r['clients']}, {r['seconds']:.0f}",
        "replies": f"{r['replies']:,} ({r['requests_per_second']:,.0f}/s)",
        "**failed requests**": f"**{r['failed']}**",
        "**replies that mix versions**": f"**{r['mixed']}**",
        "replies by version": versions,
        "first reply of the new version after it appeared": (
            f"{seen:.2f} s" if seen is not None else "**never**"
        ),
        "milliseconds: p50 / p99 / most": latencies,
        "server's resident MiB: after warm-up, middle, end, most": (
            f"{rss['start']:.0f}, {rss['middle']:.0f}, {rss['end']:.0f}, {rss['most']:.0f}"
        ),
        f"growth in the last {rss['growth_over_s']:.0f} s": (f"{rss['growth']:+.1f} MiB"),
    }
    return "\n".join(["| soak | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


_HEAD = """\
Written by `{command}`: {hardware}, TensorFlow {tensorflow}, Python {python}. Server and load share
the machine, whose load average was {load:.1f} before. {models} The seed of the weights is 0, that
of the version that is swapped in 1. Spreads are medians and quartiles."""
_SOAK = """
## Soak

Closed-loop clients on loopback, half over REST and half over gRPC, half of each asking for
points (1, 3, 8 or 70 rows of {seeds} seeds) and half for PNGs. After a tenth of the time a
half-written version 99 is put beside version 1; a little later another process publishes version
100 by the real publisher. Every reply is compared with the bytes of each version, from sessions
outside of the server.

"""
_MICRO = """
## Micro-batching

Single-row requests, {in_flight} in flight, {rounds} alternating rounds of {seconds:g} s: REST with
one on each connection, gRPC with 16, as clients have that share a channel. Both servers have
`--access_log=`. The load costs little of the processor: raw HTTP/1.1 and, for gRPC, raw HTTP/2
frames (`benchmarks/load.py`). The last row is grpc's own server with a handler that returns 80
bytes.

"""
_BOUND = """
What bounds points over gRPC, in milliseconds of the processor for a request: grpc's server takes
{empty:.2f} whatever the handler does, the model {model:.2f} in a batch that is full, the load
{own:.2f}. A server of which nothing else cost anything would need {least:.2f} where the one without
batching needs {without:.2f}: with the load {bound:.1f} times less. This one needs {cost:.2f}:
{ratio:.1f} times less. An empty handler answers {only:.1f} times as many requests as the server
without batching. [Decision 0015](decisions/0015-serving.md) says what was tried.
"""
_OVER = """
## REST with PNGs over the bare call

`POST sample_png` on one connection, and `ServedModel.run` of the same rows in this process,
{repeats} times each in turn.

"""


def main() -> int:
    """The command."""
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    parts = f.parts.split(",")
    report: dict[str, Any] = {"provenance": provenance.describe({"seed": 0})}
    text, failed = [_head(report["provenance"])], False
    with tempfile.TemporaryDirectory() as name, _models(Path(name)) as (points, images):
        folder = Path(name)
        if "soak" in parts:
            with Server({"points": points, "images": images}, folder) as server:
                publish = Publisher(points, 1).publish
                soak = Soak(server, points, True, publish, f.clients, f.seconds, patience=60)
                soak.run()
            report["soak"] = result = soak.report()
            text.append(_SOAK.format(seeds=_SOAK_SEEDS) + _soak_table(result) + "\n")
            print(text[-1], flush=True)
            failed = soak_failed(result)
            for reason, num in result["failures"].items():
                print(f"failed {num} times: {reason}", file=sys.stderr)
        if "throughput" in parts:
            print(_THROUGHPUT)
            report["throughput"] = results = measure_throughput(
                folder, points, images, f.rounds, f.round_seconds, f.in_flight, f.cases
            )
            report["floor"] = measure_floor(points, f.rounds, f.round_seconds, f.in_flight)
            lead = _MICRO.format(in_flight=f.in_flight, rounds=f.rounds, seconds=f.round_seconds)
            table = "\n".join([_THROUGHPUT, *map(_throughput_row, results)])
            floor = _floor_text(report["floor"], results)
            print(floor)
            text.append(f"{lead}{table}\n{floor}")
        if "overhead" in parts:
            print(_OVERHEAD)
            report["overhead"] = results = measure_overhead(folder, images, f.repeats)
            table = "\n".join([_OVERHEAD, *map(_overhead_row, results)])
            text.append(f"{_OVER.format(repeats=f.repeats)}{table}\n")
    if f.output:
        Path(f.output).write_text("".join(text))
    if f.json:
        write_json(Path(f.json), report)
    else:
        print(json.dumps({k: v for k, v in report.items() if k != "provenance"}))
    return 1 if failed else cli.DONE


def soak_failed(result: dict[str, Any]) -> bool:
    """Whether a soak found what must not be."""
    rss = result["resident_mib"]
    return bool(
        result["failed"]
        or result["mixed"]
        or result["swap_seen_after_s"] is None
        or rss["growth"] > 0.1 * rss["start"]
    )


@contextlib.contextmanager
def _models(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The folders of points and images, in which versions may be published."""
    f = flags.FLAGS
    bases = []
    for name, given, make in (
        ("points", f.points, publish_points),
        ("images", f.images, publish_images),
    ):
        base = folder / "models" / name
        if given:
            from export import publish

            shutil.copytree(publish.find_version(Path(given)), base / "1")
        else:
            make(base)
        bases.append(base)
    yield bases[0], bases[1]


def _head(provenance: dict[str, Any]) -> str:
    f = flags.FLAGS
    given = [
        f"--{name}={f[name].value}" for name in sorted(f) if f[name].present and name in _FLAGS
    ]
    hardware = provenance["hardware"]
    models = (
        "Models with random weights: `points`, a mixture of 8 MLPs 3 x 512; `images`, one of 3 "
        "DCGANs of 32 x 32 grey pixels, width 32."
    )
    if f.points or f.images:
        models = f"Models: points from {f.points or 'random weights'}, images from "
        models += f"{f.images or 'random weights'}."
    paragraph = _HEAD.format(
        command=" ".join(["python -m benchmarks.serving", *given]),
        hardware=f"{hardware['processor']}, {hardware['cores']} cores",
        tensorflow=provenance["versions"]["tensorflow"],
        python=sys.version.split()[0],
        models=models,
        load=os.getloadavg()[0],
    )
    filled = textwrap.fill(" ".join(paragraph.split()), 99, break_on_hyphens=False)
    return f"# The embedded server's speed\n\n{filled}\n"


_FLAGS = ("seconds", "clients", "rounds", "round_seconds", "in_flight", "repeats", "parts", "cases",
          "points", "images", "output")  # fmt: skip

if __name__ == "__main__":
    flags.DEFINE_float("seconds", 60.0, "Of the soak.", lower_bound=1.0)
    flags.DEFINE_integer("clients", 32, "Of the soak.", lower_bound=4)
    flags.DEFINE_integer("rounds", 7, "Of each throughput.", lower_bound=1)
    flags.DEFINE_float("round_seconds", 5.0, "Of each round.", lower_bound=0.1)
    flags.DEFINE_integer("in_flight", 128, "Requests of the throughput's load.", lower_bound=1)
    flags.DEFINE_integer("repeats", 100, "Of each call of the overhead.", lower_bound=2)
    flags.DEFINE_string("parts", "soak,throughput,overhead", "Which, separated by commas.")
    flags.DEFINE_multi_string("cases", list(_CASES), "Of the throughput: model/protocol.")
    flags.DEFINE_string("points", None, "A published model of points instead.")
    flags.DEFINE_string("images", None, "A published model of images instead.")
    flags.DEFINE_string("output", None, "Also write a Markdown file.")
    flags.DEFINE_string("json", None, "Write the figures there instead of printing them.")
    cli.main(main, sys.argv)
