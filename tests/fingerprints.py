"""Proves that a change of the code's layout changes nothing that a user sees.

    python -m tests.fingerprints --out=FILE.json        this checkout's: what -> SHA-256
    python -m tests.fingerprints --base=REV             those of a commit, and this checkout's
    python -m tests.fingerprints --against=FILE.json    those of the file, and this checkout's
    python -m tests.fingerprints --only='solve|help' --against=FILE.json    some cases only

Everything is run by the public commands (tests/fingerprint_cases.py), as subprocesses in the
checkout that is looked at, on tiny experiments; nothing of the project is imported, so its layout
may be any. The names are CASE:FILE#PART; a part is a key of a JSON file, a column of
metrics.jsonl, an array, a tensor.
--work=DIR keeps what the cases wrote (DIR/base and DIR/here), to look for causes.
About nine minutes a pass on 2 cores. Exit codes: 0 all equal, 1 something differs, 2 bad input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.fingerprint_cases import CASES, RUN

ROOT = Path(__file__).parents[1]

# Files that are not looked at: times and the machine, what the trainers of a sweep print (with
# progress bars), the study's records, which are an input, and bytes that hold times, addresses or
# maps without an order; of models and checkpoints what they draw and the tensors are looked at.
_NO_FILES = re.compile(
    r"(^|/)(times\.jsonl|provenance\.json|tensorboard|logs|locks|runs|sweep\.db|\.[^/]*"
    r"|saved_model\.pb|fingerprint\.pb|variables|tensors\.data.*|tf_serving_warmup_requests)(/|$)"
)
# Keys: seconds, the commit, hashes and sizes of such files, a sweep's random name for its folder.
_NO_KEYS = {"seconds", "seconds_of_payoffs", "code", "files", "checksum", "bytes", "place"}
# Texts: seconds, the commit, a model's size, which holds the commit's and graph's, and the file
# where --help found the flags, which is the layout's business.
_NO_TEXTS = (
    (re.compile(r"\b[\d.]+ s\b"), "N s"),
    (re.compile(r"(?m)^( +\d+ +complete .*?) +\d+$"), r"\1 N"),  # a sweep's table
    (
        re.compile(r"(?m)^(\| \w+(?: \*)? \|.* / .*\|) [\d.]+ \|$"),
        r"\1 N |",
    ),  # trainers.solve's table
    (re.compile(r"\b[0-9a-f]{40}\b( with changes)?"), "COMMIT"),
    (re.compile(r"\b(\d+ files), [\d,]+ bytes"), r"\1, N bytes"),
    (re.compile(r"(?m)^<checkout>/.*\.py:$"), "FILE.py:"),
)

# Runs a command, and prints the file of every module that was imported.
_MODULES = """
import runpy, sys
sys.argv = ["trainers.run", "--config=configs/gaussians8_mp.py:tiny", "--dry_run"]
try:
    runpy.run_module("trainers.run", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
for module in list(sys.modules.values()):
    print("FILE", getattr(module, "__dict__", {}).get("__file__"))
"""


def _sha(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def _array(array: np.ndarray) -> str:
    data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return _sha(f"{array.dtype} {array.shape} ".encode() + data)


def _pruned(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _pruned(value) for key, value in tree.items() if key not in _NO_KEYS}
    return [_pruned(value) for value in tree] if isinstance(tree, list) else tree


def _tensors(prefix: Path) -> dict[str, str]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    names = sorted(set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"})
    return {name: _array(np.asarray(reader.get_tensor(name))) for name in names}


class Pass:
    """The cases, once, with the code of one checkout.

    Args:
      checkout: a folder with the project's files.
      work: a folder, empty or new.
    """

    def __init__(self, checkout: Path, work: Path):
        self.checkout, self.work = checkout.resolve(), work.resolve()
        self.env = {**os.environ, "PYTHONPATH": str(self.checkout), "COLUMNS": "80"}
        self.env |= {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

    def fingerprints(self, names: list[str], jobs: int) -> dict[str, str]:
        """CASE:FILE#PART -> SHA-256, of the cases `names` and those that they need."""
        self._check_imports()
        self._write_data(self.work / "data")
        wanted = set(names)
        for name in reversed(CASES):  # what a case needs stands before it
            wanted |= {CASES[name].needs} if name in wanted else set()
        futures: dict[str, Future[dict[str, str]]] = {}
        with ThreadPoolExecutor(jobs) as pool:
            for name in (name for name in CASES if name in wanted):
                futures[name] = pool.submit(self._case, name, futures.get(CASES[name].needs))
        return {key: value for f in futures.values() for key, value in f.result().items()}

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, *words]
        return subprocess.run(
            words, cwd=self.checkout, env=self.env, capture_output=True, text=True, check=False
        )

    def _check_imports(self) -> None:
        """That the project's modules are this checkout's, not those of an installed one."""
        files = re.findall(r"(?m)^FILE (/.*)", self._run(["-c", _MODULES]).stdout)
        ours = (str(self.checkout), sys.prefix, sys.base_prefix)
        if not files or (foreign := [file for file in files if not file.startswith(ours)]):
            sys.exit(f"error: {self.checkout} runs code from elsewhere: {foreign if files else 0}")

    def _write_data(self, folder: Path) -> None:
        from PIL import Image

        random = np.random.default_rng(0)
        images = random.integers(0, 256, (64, 28, 28), np.uint8)
        (folder / "folder").mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / "folder" / f"{i:03d}.png")
        labels = random.integers(0, 10, 64)
        np.savez(folder / "images.npz", images=images[..., None], labels=labels)
        shutil.copytree(self.checkout / "docs" / "results" / "study_narrow", folder / "study")

    def _case(self, name: str, before: Future | None) -> dict[str, str]:
        if before is not None:
            before.result()
        places = {other: str(self.work / other) for other in CASES}
        places |= {"out": str(self.work / name), "data": str(self.work / "data")}
        places |= {"run": places[RUN], "model": places["saved_model"] + "/model"}
        Path(places["out"]).mkdir(parents=True, exist_ok=True)
        done = self._run(["-m", *CASES[name].command.format(**places).split()])
        if done.returncode != (2 if name.startswith("error/") else 0):
            print(f"{name}: exit code {done.returncode}\n{done.stderr[-2000:]}", file=sys.stderr)
        found = {"exit code": _sha(str(done.returncode)), "stdout": _sha(self._text(done.stdout))}
        if name.startswith("error/"):  # TensorFlow's own lines may come before
            found["stderr"] = _sha(self._text(done.stderr[done.stderr.find("error:") :]))
        folder = Path(CASES[name].looks.format(**places))
        paths = (p for p in sorted(folder.rglob("*")) if p.is_file())
        for path in paths:
            file = path.relative_to(folder).as_posix()
            if not _NO_FILES.search(file):
                found |= {f"{file}#{part}": sha for part, sha in self._parts(path).items()}
        print(f"{name} done", file=sys.stderr)
        return {f"{name}:{what}": sha for what, sha in found.items()}

    def _text(self, text: str) -> str:
        places = {"<work>": self.work, "<checkout>": self.checkout, "<python>": sys.executable}
        for placeholder, place in places.items():
            text = text.replace(str(place), placeholder)
        for pattern, replacement in _NO_TEXTS:
            text = pattern.sub(replacement, text)
        return text

    def _parts(self, path: Path) -> dict[str, str]:
        """Part -> SHA-256; a file without parts has one without a name."""
        if path.name == "tensors.index":
            return _tensors(path.with_suffix(""))
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return {name: _array(arrays[name]) for name in arrays.files}
        if path.suffix == ".npy":
            return {"": _array(np.load(path))}
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as image:
                return {"": _array(np.asarray(image))}
        if path.suffix == ".rows":
            return {"": _sha(path.read_bytes())}
        text = self._text(path.read_text())
        if path.suffix not in (".json", ".jsonl"):
            return {"": _sha(text)}
        if path.suffix == ".json":
            tree = _pruned(json.loads(text))
            tree = dict(enumerate(tree)) if isinstance(tree, list) else tree
        else:
            lines = [json.loads(line) for line in text.splitlines()]
            keys = dict.fromkeys(key for line in lines for key in line)
            tree = _pruned({key: [line.get(key) for line in lines] for key in keys})
        parts = {str(key): _sha(json.dumps(value)) for key, value in tree.items()}
        return {**parts, "(order of keys)": _sha("\n".join(parts))}


def report(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Prints what is equal and what differs, case by case; whether all is equal."""
    same = True
    for case in dict.fromkeys(key.partition(":")[0] for key in (*old, *new)):
        keys = [key for key in dict.fromkeys((*old, *new)) if key.startswith(f"{case}:")]
        differ: dict[str, list[str]] = {}
        for key in (key for key in keys if old.get(key) != new.get(key)):
            file, _, part = key.removeprefix(f"{case}:").partition("#")
            where = "" if key in old and key in new else f" (only {'old' if key in old else 'new'})"
            differ.setdefault(file, []).append(part + where)
        print(f"{case:24s} {'DIFFERENT' if differ else 'equal'} ({len(keys)} fingerprints)")
        for file, parts in differ.items():
            print(f"    {file}: {', '.join(parts[:12])}{', ...' if len(parts) > 12 else ''}")
        same = same and not differ
    return same


def _of_revision(revision: str, work: Path, names: list[str], jobs: int) -> dict[str, str]:
    git, code = ["git", "-C", str(ROOT), "worktree"], str(work / "code")
    if subprocess.run([*git, "add", "--detach", code, revision], check=False).returncode:
        sys.exit(2)
    try:
        return Pass(Path(code), work / "base").fingerprints(names, jobs)
    finally:
        subprocess.run([*git, "remove", "--force", code], check=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--base")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", default="", help="A regular expression of cases.")
    parser.add_argument("--work", type=Path, help="Kept; by default a temporary folder.")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if not (args.out or args.base or args.against):
        parser.error("Give --out, --base or --against.")
    names = [name for name in CASES if re.search(args.only, name)]
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        old = json.loads(args.against.read_text()) if args.against else None
        if args.base:
            old = _of_revision(args.base, work, names, args.jobs)
        new = Pass(ROOT, work / "here").fingerprints(names, args.jobs)
    if args.out:
        args.out.write_text(json.dumps(new, indent=0) + "\n")
    if old is None:
        return 0
    looked = {key.partition(":")[0] for key in new}
    return 0 if report({k: v for k, v in old.items() if k.partition(":")[0] in looked}, new) else 1


if __name__ == "__main__":
    sys.exit(main())
