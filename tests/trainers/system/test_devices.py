"""Devices and workers: the run of one device, whatever it is split over."""

import functools
import json
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest

from tests.trainers.conftest import command, photograph, started
from tf_mixed_nash.errors import InputError
from trainers.system import devices
from trainers.workdir.checkpoints import Checkpoints

KINDS = (
    "mirror_gan",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mirror_prox_gan", "images")),
)


def free_ports(num):
    sockets = [socket.socket() for _ in range(num)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def environments(num=2):
    """The environment of each of `num` workers on loopback."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(num)]}
    for index in range(num):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        yield {**os.environ, "TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": ""}


def finish(process, timeout=240):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(kind, job) -> variables; a job is default, mirrored, noiseless, worker0 or worker1."""
    folder = tmp_path_factory.mktemp("runs")
    photo = photograph()
    patches = np.stack([photo[8 * i : 8 * i + 32, 6 * i : 6 * i + 32] for i in range(60)])
    np.save(folder / "patches.npy", patches)

    @functools.cache
    def results(kind, wanted):
        jobs = {}
        for name, environment in wanted:
            program = "multi_worker" if name.startswith("worker") else name
            arguments = [program, kind, f"{folder}/{kind}-{name}.npz", f"{folder}/patches.npy"]
            module = "tests.trainers.system.replicas"
            jobs[name] = started(module, *arguments, environment=environment and dict(environment))
        for name, job in jobs.items():
            code, _, err = finish(job)
            assert code == 0, (kind, name, err[-3000:])
        return {name: dict(np.load(f"{folder}/{kind}-{name}.npz")) for name in jobs}

    workers = tuple((f"worker{i}", tuple(e.items())) for i, e in enumerate(environments()))

    def of(kind, name):
        # Side by side: those of one process each, and the workers, who wait for each other.
        alone = tuple((job, None) for job in ("default", "mirrored", "noiseless"))
        return results(kind, workers if name.startswith("worker") else alone)[name]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_are_bitwise_equal_after_50_mini_batches(runs, kind):
    ours, theirs = runs(kind, "worker0"), runs(kind, "worker1")
    assert int(ours["m"]) == 50
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize("split", ["mirrored", "worker0"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_batch_is_split_over_changes_only_rounding(runs, kind, split):
    """1 device against 2 replicas and 2 workers: parameters to 1e-8 relative, noise included."""
    one, two = runs(kind, "default"), runs(kind, split)
    gap = 0.0
    for name in ("scheme.theta.z", "scheme.w.z", "ema", "mixture"):
        a, b = (x[name].astype(np.float64) for x in (one, two))
        scale = np.linalg.norm(a)
        assert np.linalg.norm(a - b) <= 1e-8 * scale, name
        gap = max(gap, np.abs(a - b).max())
    # Sums in another order: the same code path would agree to the last bit.
    assert gap > 0, "the batch was not split"


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_part_of_what_agrees(runs, kind):
    """Without it the parameters are elsewhere, by far more than the disagreement allowed."""
    for name in ("scheme.theta.z", "scheme.w.z"):
        noisy, quiet = (runs(kind, job)[name] for job in ("default", "noiseless"))
        assert np.linalg.norm(noisy - quiet) > 1e-3 * np.linalg.norm(noisy), name


# The command.


def worker_commands(workdir, *more):
    arguments = [
        "trainers.run", "--config=configs/gaussians8_mp.py:tiny",
        "--config.strategy=multi_worker", f"--workdir={workdir}", *more,
    ]  # fmt: skip
    return [started(*arguments, environment=environment) for environment in environments()]


@pytest.mark.slow
def test_two_workers_write_one_workdir_and_resume(tmp_path):
    workdir = tmp_path / "run"
    done = [finish(job) for job in worker_commands(workdir, "--config.num_batches=8")]
    assert [code for code, *_ in done] == [0, 0], [err[-2000:] for *_, err in done]
    assert "SavedModel" in done[0][1]
    assert done[1][1] == "", "only the first speaks"
    steps = [json.loads(x)["step"] for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8]
    assert len(list((workdir / "export" / "generator").glob("[0-9]*"))) == 1
    again = [finish(job) for job in worker_commands(workdir, "--config.num_batches=8")]
    assert [code for code, *_ in again] == [0, 0]
    assert "finished" in again[0][1]
    # A later reader needs no cluster.
    scored = finish(started("trainers.evaluate", f"--workdir={workdir}"))
    assert scored[0] == 0, scored[2][-2000:]


@pytest.mark.slow
def test_sigterm_on_one_worker_stops_both_after_a_checkpoint(tmp_path):
    workdir = tmp_path / "run"
    jobs = worker_commands(workdir, "--config.num_batches=200000", "--config.log_every=50",
                           "--config.picture_every=100000")  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        path = workdir / "metrics.jsonl"
        if path.exists() and path.read_text().count("\n") > 2:
            break
        time.sleep(0.2)
    jobs[1].send_signal(signal.SIGTERM)
    done = [finish(job) for job in jobs]
    assert [code for code, *_ in done] == [143, 143], [err[-2000:] for *_, err in done]
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    (*_, newest) = sorted((workdir / "checkpoints").glob("step_*"))
    # Between two records: a stop does not wait for the next.
    assert last <= int(newest.name[5:]) < last + 50 + 2


def test_another_config_on_one_worker_is_refused_by_both(tmp_path):
    (first, second) = environments()
    common = ["trainers.run", "--config=configs/gaussians8_mp.py:tiny",
              "--config.strategy=multi_worker", f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    jobs = [
        started(*common, environment=first),
        started(*common, "--config.seed=5", environment=second),
    ]
    for code, _, err in map(finish, jobs):
        assert code == 2, err[-2000:]
        assert "another config" in err
    assert not (tmp_path / "run").exists()


GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is not set"),
        ("{", "is no JSON"),
        ("[]", "must have"),
        (json.dumps({**GOOD, "cluster": {"ps": ["a:1"]}}), '"worker"'),
        (json.dumps({**GOOD, "cluster": {"worker": ["a:1", "a:1"]}}), "twice"),
        (json.dumps({**GOOD, "cluster": {"worker": ["a", "b:2"]}}), "HOST:PORT"),
        (json.dumps({**GOOD, "task": {"type": "worker", "index": 2}}), "worker 0, worker 1"),
        (json.dumps({"cluster": GOOD["cluster"]}), "task"),
    ],
)
def test_a_broken_tf_config_is_named_with_an_example(text, says):
    with pytest.raises(InputError, match='"host1:2222"') as caught:
        devices.check_tf_config(text)
    assert says in str(caught.value)


def test_the_command_exits_2_without_tf_config(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    done = command("trainers.run", "--config=configs/gaussians8_mp.py:tiny",
                   "--config.strategy=multi_worker", f"--workdir={tmp_path / 'run'}")  # fmt: skip
    assert done.returncode == 2
    assert "TF_CONFIG, which is not set" in done.stderr
    assert not (tmp_path / "run").exists()


def test_places_in_a_cluster_with_a_chief():
    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    places = [
        devices.check_tf_config(json.dumps({"cluster": cluster, "task": task}))
        for task in (
            {"type": "chief", "index": 0},
            {"type": "worker", "index": 0},
            {"type": "worker", "index": 1},
        )
    ]
    assert [(p.index, p.count, p.chief) for p in places] == [
        (0, 3, True),
        (1, 3, False),
        (2, 3, False),
    ]
    assert places[2].rows(12) == slice(8, 12)


def test_one_process_needs_no_cluster():
    alone = devices.workers("default")
    assert alone.chief
    np.testing.assert_array_equal(alone.gather(3, 4), [[3, 4]])
    assert devices.first_difference(np.array([[1, 2], [1, 2], [1, 3]])) == [2]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_dies_stops_the_other_with_a_checkpoint(tmp_path, victim):
    """Also the first one, whose part the other takes; both resume to the undisturbed run."""
    small = ("--config.num_batches=800", "--config.log_every=20", "--config.picture_every=10000",
             "--config.checkpoint_every=400", "--config.temperature=1e-4")  # fmt: skip
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    done = [finish(job) for job in worker_commands(whole, *small)]
    assert [code for code, *_ in done] == [0, 0], [err[-2000:] for *_, err in done]
    jobs = worker_commands(workdir, *small)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        path = workdir / "metrics.jsonl"
        if path.exists() and path.read_text().count("\n") > 3:
            break
        time.sleep(0.02)
    jobs[victim].kill()
    finish(jobs[victim])
    code, _, err = finish(jobs[1 - victim])
    assert code == 143, err[-3000:]
    assert "another worker of this run was lost" in err
    assert "a checkpoint was written" in err
    assert "Traceback" not in err
    newest = Checkpoints(workdir / "checkpoints").read().saved
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert 0 <= newest.step - last < 20, "no record is missing"
    done = [finish(job) for job in worker_commands(workdir, *small)]
    assert [code for code, *_ in done] == [0, 0], [err[-2000:] for *_, err in done]
    assert "records were lost" not in done[0][2]
    assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    ours, theirs = (Checkpoints(w / "checkpoints").read().tensors for w in (workdir, whole))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], name)
