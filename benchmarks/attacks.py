"""What one hostile client can do to the others: requests within and beyond the limits, counted.

    python -m benchmarks.attacks [--before=COMMIT] [--attacks=NAME,...] [--shots=3]
        [--output=docs/serving_security.md]

For each attack a server of a small model gets `shots` hostile requests one after the other, or five
at once, while a client of its own process asks for one row at a time. Counted are how the hostile
requests were answered, what they cost the server's processor, and how long the other client waited.
With --before the same is done to the server of another commit, from a worktree of its own. --output
replaces the table between the two marks in that file.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks import serving
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

TOKEN = "a-token-of-enough-characters"
_MARKS = "<!-- attacks: python -m benchmarks.attacks writes this table -->", "<!-- /attacks -->"
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
_PATIENCE = 300.0
TARGET_MS = 100
NOTHING = "nothing"  # the attack that is none: what the machine's other work costs the other client
_AT_ONCE = 5

# The other client: a request of one row, again and again; prints its milliseconds at the end.
_VICTIM = """
import http.client, json, sys, threading, time
host, port, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
headers = {"Authorization": "Bearer " + token} if token else {}
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
times, failed = [], 0
connection = http.client.HTTPConnection(host, port, timeout=600)
print("ready", flush=True)
while not over.is_set() or not times:
    began = time.monotonic()
    try:
        body = json.dumps({"instances": [[7, len(times)]]})
        connection.request("POST", "/v1/models/points:predict", body, headers)
        reply = connection.getresponse()
        content = reply.read()
        failed += reply.status != 200
    except Exception:
        failed += 1
        connection.close()
    times.append(1e3 * (time.monotonic() - began))
    time.sleep(0.005)
print(json.dumps([times, failed]))
"""


class Attack(NamedTuple):
    """A hostile request.

    Attributes:
      name: in --attacks.
      what: in the table.
      shoot: sends it to a server; returns how it was answered.
      at_once: whether all shots are made at the same time.
      token: whether the server wants a token, which the attacker does not have.
    """

    name: str
    what: str
    shoot: Callable[[Any], str]
    at_once: bool = False
    token: bool = False


def _post(body: bytes, *headers: str, path: str = "points:predict", patience: float = _PATIENCE):
    """Shoots a POST; a server that answers early may hang up on the rest of the body."""

    def shoot(server) -> str:
        lines = [f"POST /v1/models/{path} HTTP/1.1", "Host: localhost", *headers]
        if not any(h.startswith("Transfer-Encoding") for h in headers):
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join([*lines, "", ""]).encode() + body
        try:
            with socket.create_connection(server.rest, patience) as connection:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(data)
                reply = http.client.HTTPResponse(connection, method="POST")
                reply.begin()
                reply.read()
                return str(reply.status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    return shoot


def _call(method: str, data: Callable[[], bytes], compression: Any = None, metadata: Any = None):
    """Shoots a gRPC message."""
    made: list[bytes] = []

    def shoot(server) -> str:
        import grpc

        if not made:
            made.append(data())
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        address = ":".join(map(str, server.grpc))
        with grpc.insecure_channel(address, options, compression) as channel:
            try:
                channel.unary_unary(method)(made[0], timeout=_PATIENCE, metadata=metadata)
            except grpc.RpcError as error:
                return error.code().name  # type: ignore[attr-defined]
        return "OK"

    return shoot


def _request(**fields: Any):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(**fields)
    request.model_spec.name = "points"
    request.inputs["seeds"].CopyFrom(tf.make_tensor_proto(serving.seed_rows(1, 1)))
    return request


def _million() -> list[str]:
    return [f"x{i}" for i in range(1_000_000)]


def _names() -> bytes:
    return _request(output_filter=_million()).SerializeToString()


def _fields() -> bytes:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=_million())
    request.model_spec.name = "points"
    return request.SerializeToString()


def _inputs() -> bytes:
    request = _request()
    for i in range(100_000):
        request.inputs[f"x{i}"].dtype = 9
    return request.SerializeToString()


def _dims() -> bytes:
    request = _request()
    proto = request.inputs["seeds"]
    for _ in range(1_000_000):
        proto.tensor_shape.dim.add(size=1)
    return request.SerializeToString()


def _spaces() -> bytes:
    return _request().SerializeToString() + b"\x1a\x01x" * 20_000_000


def _bomb(size: int) -> bytes:
    """gzip of so many blanks, whose checksum nobody reaches: the same block again and again."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // 2**20 - 1) + packer.flush()


def _rows(num: int) -> bytes:
    return json.dumps({"instances": serving.seed_rows(3, num).tolist()}).encode()


def _nothing(server) -> str:
    time.sleep(1.0)
    return "nothing"


def _slow(server) -> str:
    """300 connections, each with half a head and half a body."""
    with contextlib.ExitStack() as exits:
        for i in range(300):
            one = exits.enter_context(socket.create_connection(server.rest, _PATIENCE))
            head = b"POST /v1/models/points:predict HTTP/1.1\r\nHost: localhost\r\n"
            one.sendall(head if i % 2 else head + b"Content-Length: 100\r\n\r\n{")
        time.sleep(1.0)
    return "hung up"


def _vanish(server) -> str:
    """20 requests of the most rows, whose clients leave at once."""
    body = _rows(1024)
    for _ in range(20):
        with socket.create_connection(server.rest, _PATIENCE) as one:
            head = "POST /v1/models/points:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
            one.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
            time.sleep(0.01)
    return "hung up"


def _pipeline(server) -> str:
    """5,000 requests of one connection, sent before any reply is read."""
    num = 5000
    with socket.create_connection(server.rest, _PATIENCE) as one:
        asked = b"GET /v1/models/points HTTP/1.1\r\nHost: localhost\r\n\r\n" * num
        sender = threading.Thread(target=one.sendall, args=(asked,), daemon=True)
        sender.start()
        found, last = 0, b""
        while found < num and (data := one.recv(2**16)):
            found += (last + data).count(b"HTTP/1.1 200")
            last = data[-11:]
        sender.join(_PATIENCE)
    return f"{found:,} answered"


def _churn(server) -> str:
    """1,000 connections, with a request or half of one, that are reset at once."""
    data = (
        b"POST /v1/models/points:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 21\r\n\r\n"
    )
    for i in range(1000):
        with socket.create_connection(server.rest, _PATIENCE) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.sendall(data + b'{"instances":[[7,0]]}' if i % 2 else data[:60])
    return "hung up"


_GZIP, _CHUNKED = "Content-Encoding: gzip", "Transfer-Encoding: chunked"
_LISTS = b'{"instances":[' + b"[]," * 5_000_000 + b"[]]}"


def attacks() -> list[Attack]:
    """All of them."""
    import grpc

    lists = gzip.compress(_LISTS)
    members = gzip.compress(b"") * 50_000
    keys = json.dumps({"instances": [{f"k{i}": 0 for i in range(60_000)}]}).encode()
    numbers = b'{"instances":[' + b"[0,0]," * 2_600_000 + b"[0,0]]}"
    words = b'{"instances":[' + b"[NaN,0]," * 2_000_000 + b"[0,0]]}"
    wrong = json.dumps(
        {
            "signature_name": "generate_component",
            "inputs": {"latents": [[0, 0]], "components": [99]},
        }
    ).encode()
    chunks = b"".join(b"1\r\n \r\n" for _ in range(500_000)) + b"0\r\n\r\n"
    gz = grpc.Compression.Gzip
    return [
        Attack(NOTHING, "none: the other client alone", _nothing),
        Attack("lists", f"{len(lists) / 1000:.0f} kB of gzip, 5 million empty lists",
               _post(lists, _GZIP)),
        Attack("lists_at_once", "the same, five at once", _post(lists, _GZIP), at_once=True),
        Attack("filter", "1 million names in output_filter", _call(_PREDICT, _names)),
        Attack("fields", "1 million names in metadata_field", _call(_METADATA, _fields)),
        Attack("inputs", "100,000 inputs", _call(_PREDICT, _inputs)),
        Attack("dims", "a tensor of 1 million dimensions", _call(_PREDICT, _dims)),
        Attack("bomb", "4 MB of gzip, 4 GB of blanks; no token",
               _post(_bomb(4 * 2**30), _GZIP), token=True),
        Attack("bomb_grpc", "gRPC's gzip of 60 MB of names; no token",
               _call(_PREDICT, _spaces, gz), token=True),
        Attack("bomb_open", "100 kB of gzip, 100 MB of blanks",
               _post(_bomb(100 * 2**20), _GZIP)),
        Attack("members", "gzip of 50,000 empty members", _post(members, _GZIP)),
        Attack("numbers", "15.6 MB of numbers", _post(numbers)),
        Attack("words", "16 MB with NaN in it", _post(words)),
        Attack("keys", "a row of 60,000 names", _post(keys)),
        Attack("deep", "1 MB of opening brackets", _post(b"[" * 1_000_000)),
        Attack("chunks", "500,000 chunks of a byte", _post(chunks, _CHUNKED)),
        Attack("pairs", "300,000 chunks of two bytes; no token",
               _post(b"2\r\n  \r\n" * 300_000, _CHUNKED), token=True),
        Attack("extensions", "a chunk whose extension has 16 MB",
               _post(b"1;" + b"e" * 2**24 + b"\r\n \r\n0\r\n\r\n", _CHUNKED)),
        Attack("headers", "16 MB of headers", _post(b"", *["X: " + "y" * 1000] * 16_000)),
        Attack("pipeline", "5,000 requests sent as one", _pipeline),
        Attack("churn", "1,000 connections that are reset", _churn),
        Attack("metadata", "gRPC metadata of 1 MB",
               _call(_PREDICT, lambda: b"", metadata=[("x", "y" * 2**20)])),
        Attack("rows", "1,024 rows, five at once", _post(_rows(1024)), at_once=True),
        Attack("values", "values that the graph refuses, five at once",
               _post(wrong), at_once=True),
        Attack("slow", "300 connections with half a request", _slow),
        Attack("vanish", "20 requests of 1,024 rows, left at once", _vanish),
    ]  # fmt: skip


@contextlib.contextmanager
def _victim(server, token: str) -> Iterator[dict[str, Any]]:
    """The other client while the block runs, and a second before it; then its times."""
    host, port = server.rest
    process = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, host, str(port), token],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = {}
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    try:
        yield found
    finally:
        out, _ = process.communicate("", timeout=2 * _PATIENCE)
        found["ms"], found["failed"] = json.loads(out)


def run(attack: Attack, server, shots: int, token: str = "") -> dict[str, Any]:
    """Counts of an attack on a server."""
    shots = max(shots, _AT_ONCE) if attack.at_once else shots
    before = server.cpu_seconds()
    with _victim(server, token) as found:
        began = time.monotonic()
        if attack.at_once:
            with concurrent.futures.ThreadPoolExecutor(shots) as pool:
                answers = list(pool.map(lambda _: attack.shoot(server), range(shots)))
        else:
            answers = [attack.shoot(server) for _ in range(shots)]
        took = time.monotonic() - began
        time.sleep(0.5)
    times = found["ms"]
    return {
        "answers": dict(collections.Counter(answers)),
        "asked": len(times),
        "failed": found["failed"],
        "p50_ms": serving.quantile(times, 0.5),
        "p99_ms": serving.quantile(times, 0.99),
        "worst_ms": max(times),
        "took_s": took,
        # That of the other client's requests is in it, a millisecond or two for each.
        "cpu_s": (server.cpu_seconds() - before) / shots,
    }


class ServerAt(serving.Server):
    """A server of another tree of this project."""

    def __init__(self, tree: Path, *arguments: Any):
        super().__init__(*arguments)
        self._command = ["env", f"--chdir={tree}", f"PYTHONPATH={tree}", *self._command]


def log_pipe(tree: Path, base: Path, folder: Path) -> dict[str, Any]:
    """Requests that are answered while nobody reads stderr, of 2,000; whether SIGTERM ends it."""
    server = ServerAt(tree, {"points": base}, folder)
    command = server._command
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, text=False
    )
    assert process.stdout is not None
    address = None
    try:
        while address is None:
            line = process.stdout.readline().decode()
            if not line:
                raise RuntimeError("The server did not start.")
            if line.startswith("REST"):
                host, port = line.split("//")[1].split("/")[0].rsplit(":", 1)
                address = host, int(port)
        answered = 0
        connection = http.client.HTTPConnection(*address, timeout=20)
        try:
            for _ in range(2000):
                connection.request("GET", "/v1/models/" + "x" * 200)
                connection.getresponse().read()
                answered += 1
        except OSError:
            pass
        connection.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stderr:
            process.stderr.close()
    return {"answered": answered, "ended": ended}


def goodput(server, clients: int, seconds: float) -> dict[str, float]:
    """Rows answered, and rows computed for each, by clients of 1,024 rows.

    They never rest, but for a wait after a refusal, from 50 ms to 2 s, as `export.client` has it.
    """
    body = _rows(1024)
    head = (
        f"POST /v1/models/points:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
    )
    data = f"{head}\r\n\r\n".encode() + body
    end = time.monotonic() + seconds

    def computed() -> float:
        connection = http.client.HTTPConnection(*server.rest, timeout=_PATIENCE)
        connection.request("GET", "/monitoring/prometheus/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return float(text.split("serving_batch_rows_sum ")[1].split()[0])

    def client(_) -> tuple[int, int]:
        answered = refused = 0
        wait = 0.05
        with socket.create_connection(server.rest, _PATIENCE) as connection:
            while time.monotonic() < end:
                connection.sendall(data)
                reply = http.client.HTTPResponse(connection, method="POST")
                reply.begin()
                reply.read()
                if reply.status == 200:
                    answered, wait = answered + 1, 0.05
                else:
                    refused += 1
                    time.sleep(wait)
                    wait = min(2 * wait, 2.0)
        return answered, refused

    before, used = computed(), server.cpu_seconds()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        counts = list(pool.map(client, range(clients)))
    answered, refused = (sum(column) for column in zip(*counts, strict=True))
    rows = computed() - before
    return {
        "answered": answered,
        "refused": refused,
        "computed": rows / max(1, 1024 * answered),
        "per_cpu_s": 1024 * answered / max(1e-9, server.cpu_seconds() - used),
    }


@contextlib.contextmanager
def _tree(commit: str | None) -> Iterator[Path]:
    """This project, or a worktree of a commit of it."""
    here = Path(__file__).resolve().parents[1]
    if commit is None:
        yield here
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run(
            [*git, "add", "--detach", str(tree), commit], check=True, capture_output=True
        )
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def measure(tree: Path, base: Path, folder: Path, chosen: list[Attack]) -> dict[str, Any]:
    """All counts of the server of a tree."""
    shots = flags.FLAGS.shots
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    found: dict[str, Any] = {}
    models = {"points": base}
    for locked in (False, True):
        some = [attack for attack in chosen if attack.token == locked]
        if not some:
            continue
        more = [f"--auth_token_file={token_file}"] if locked else []
        with ServerAt(tree, models, folder, "--access_log=", *more) as server:
            run(Attack("warm", "", lambda server: ""), server, 1, TOKEN if locked else "")
            for attack in some:
                found[attack.name] = run(attack, server, shots, TOKEN if locked else "")
                print(attack.name, json.dumps(found[attack.name]), flush=True)
    names = flags.FLAGS.attacks.split(",") if flags.FLAGS.attacks else []
    if not names or "overload" in names:
        with ServerAt(tree, models, folder, "--access_log=") as server:
            goodput(server, 2, 1.0)
            found["capacity"] = goodput(server, 4, flags.FLAGS.seconds)
            found["overload"] = goodput(server, 16, flags.FLAGS.seconds)
            print("overload", json.dumps([found["capacity"], found["overload"]]), flush=True)
    if not names or "pipe" in names:
        found["pipe"] = log_pipe(tree, base, folder)
        print("pipe", json.dumps(found["pipe"]), flush=True)
    return found


def table(chosen: list[Attack], sides: dict[str, dict[str, Any]], shots: int) -> str:
    """Markdown."""
    heads = [f"{side}: replies | other client, ms: p50 / p99 / worst | CPU s" for side in sides]
    lines = [
        f"| attack, {shots} of each | {' | '.join(heads)} |",
        "|---" * (1 + 3 * len(sides)) + "|",
    ]
    for attack in chosen:
        cells = []
        for found in sides.values():
            r = found[attack.name]
            replies = ", ".join(f"{n} of {status}" for status, n in r["answers"].items())
            ms = f"{r['p50_ms']:.0f} / {r['p99_ms']:.0f} / {r['worst_ms']:.0f}"
            failed = f"; {r['failed']} failed" if r["failed"] else ""
            cells += [replies, ms + failed, f"{r['cpu_s']:.2f}"]
        lines.append(f"| {attack.what} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    extra = []
    for name, label in (("capacity", "4 clients of 1,024 rows"), ("overload", "16 clients")):
        if all(name in found for found in sides.values()):
            cells = [
                f"{r['answered']} answered, {r['refused']} refused; {r['computed']:.2f} rows "
                f"computed for each answered, {r['per_cpu_s']:,.0f} rows a CPU second"
                for r in (found[name] for found in sides.values())
            ]
            extra.append(f"| {label}, {flags.FLAGS.seconds:g} s | {' | '.join(cells)} |")
    if all("pipe" in found for found in sides.values()):
        cells = [
            f"{r['answered']} of 2,000 answered; SIGTERM {'works' if r['ended'] else 'does not'}"
            for r in (found["pipe"] for found in sides.values())
        ]
        extra.append(f"| stderr is a pipe that nobody reads | {' | '.join(cells)} |")
    if extra:
        head = f"\n| load | {' | '.join(sides)} |\n" + "|---" * (1 + len(sides)) + "|\n"
        text += head + "\n".join(extra) + "\n"
    return text


def _where(began: float) -> str:
    """The machine, and how busy it was."""
    from trainers.system import provenance

    hardware = provenance.describe({"seed": 0})["hardware"]
    return (
        f"{hardware['processor']}, {hardware['cores']} cores. Load average {began:.1f} before, "
        f"{os.getloadavg()[0]:.1f} after."
    )


def verdict(sides: dict[str, dict[str, Any]]) -> str:
    """In how many rows of the last side the target holds."""
    found = list(sides.values())[-1]
    rows = {name: r["p99_ms"] for name, r in found.items() if "p99_ms" in r}
    alone = rows.pop(NOTHING, None)
    late = [f"{name} ({ms:.0f} ms)" for name, ms in rows.items() if ms >= TARGET_MS]
    missed = f"; not: {', '.join(late)}" if late else ""
    return (
        f"A p99 of the other client below {TARGET_MS} ms: {len(rows) - len(late)} of {len(rows)} "
        f"rows{missed}." + (f" Alone it has {alone:.0f} ms." if alone is not None else "")
    )


def main() -> int:
    """The command."""
    import_tensorflow().get_logger().setLevel("ERROR")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    f = flags.FLAGS
    if f.output:
        serving.find_marks(Path(f.output), _MARKS)
    names = f.attacks.split(",") if f.attacks else None
    chosen = [attack for attack in attacks() if names is None or attack.name in names]
    sides: dict[str, dict[str, Any]] = {}
    began = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = Path(f.points).absolute() if f.points else folder / "models" / "points"
        if not f.points:
            serving.publish_points(base)
        for side, commit in (("before", f.before), ("after", None)):
            if side == "before" and commit is None:
                continue
            with _tree(commit) as tree:
                print(f"{side}:", flush=True)
                sides[side] = measure(tree, base, folder, chosen)
    text = f"{_where(began)}\n\n{table(chosen, sides, f.shots)}\n{verdict(sides)}\n"
    print(text)
    if f.output:
        serving.replace_between(Path(f.output), _MARKS, text)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("before", None, "A commit to compare with.")
    flags.DEFINE_string("attacks", "", "Which, separated by commas; overload and pipe are two.")
    flags.DEFINE_integer("shots", 3, "Of each attack.", lower_bound=1)
    flags.DEFINE_float("seconds", 6.0, "Of each overload.", lower_bound=0.5)
    flags.DEFINE_string("points", None, "A published model of points instead of random weights.")
    flags.DEFINE_string("output", None, "A file whose table is replaced.")
    cli.main(main, sys.argv)
