"""Paths, flags and surroundings as people and schedulers have them."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import optuna
import pytest
import tensorflow as tf

from export import checks, runtime
from tests.trainers.conftest import ROOT, command
from tf_mixed_nash.errors import InputError
from trainers.campaigns.search import space, trials
from trainers.campaigns.search.plan import Plan
from trainers.campaigns.search.spec import Spec
from trainers.system import devices, environment, quiet
from trainers.system.files import make_writable
from trainers.system.paths import literal
from trainers.tasks import image_scores
from trainers.workdir.checkpoints import Checkpoints

# What TensorFlow takes for patterns, and what is odd otherwise.
NAMES = ["a[1]", "a*b", "a?b", "back\\slash", "{a,b}", "sp ace", "日本", "x\ny", "-dash", "$HOME"]
RAW = b"raw\xff".decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def model():
    """A SavedModel of one variable."""
    module = tf.Module()
    module.v = tf.Variable([1.0, 2.0])
    spec = tf.TensorSpec([2], tf.float32, "x")
    call = tf.function(lambda x: {"y": x * module.v}, input_signature=[spec])
    return module, call


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_in_any_folder_are_good(tmp_path, name):
    """Seen: in a folder with brackets good checkpoints were called damaged."""
    # Where the name is a pattern, another folder that it matches must not be read instead.
    for folder, value in (("a1", 1.0), ("axb", 2.0), (name, 3.0)):
        checkpoints = Checkpoints(tmp_path / folder)
        checkpoints.save(5, {"x": tf.constant([value])}, {})
        checkpoints.wait()
        checkpoints.close()
    found = Checkpoints(tmp_path / name).read()
    np.testing.assert_array_equal(found.tensors["x"], [3.0])
    assert not found.damaged


@pytest.mark.parametrize("name", ["a[1]", "a*b", "back\\slash"])
def test_models_in_any_folder_load(tmp_path, name, model):
    module, call = model
    directory = tmp_path / name / "1"
    tf.saved_model.save(module, str(directory), signatures={"double": call})
    with runtime.ServedModel(directory) as served:
        answer = served.run("double", {"x": np.float32([3, 4])})["y"]
    np.testing.assert_array_equal(answer, [3, 8])
    calls = [checks.Call("double", {"x": np.float32([3, 4])}, {"y": np.float32([3, 8])})]
    np.testing.assert_array_equal(checks._by_python(directory, calls)[0]["y"], [3, 8])


def test_a_folder_without_patterns_is_itself_and_another_holds_inside_alone(tmp_path):
    with literal(tmp_path) as path:
        assert path == tmp_path
    odd = tmp_path / "[x]"
    odd.mkdir()
    (odd / "file").write_text("here")
    with literal(odd) as path:
        assert not set("[]*?\\") & set(str(path))
        assert (path / "file").read_text() == "here"
        child = [sys.executable, "-c", f"print(open('{path}/file').read())"]
        assert subprocess.check_output(child, text=True) == "here\n"
    assert not (path / "file").exists()


def test_a_path_that_is_no_utf8_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"no UTF-8.*--workdir"):
        make_writable(tmp_path / RAW, "--workdir")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_in_a_folder_of_patterns_trains_publishes_and_is_finished(tmp_path):
    workdir = tmp_path / "runs [1] *é"
    arguments = ("--config=configs/gaussians8_mp.py:tiny", f"--workdir={workdir}")
    done = command("trainers.run", *arguments, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    again = command("trainers.run", *arguments)
    assert "finished" in again.stdout
    out, model = tmp_path / "o [1].png", workdir / "export" / "generator"
    drawn = command("export.sample", f"--model={model}", "--num=5", f"--output={out}")
    assert drawn.returncode == 0, drawn.stderr
    assert command("export.verify", f"--model={model}").returncode == 0
    published = command("export.saved_model", f"--workdir={workdir}", f"--output={tmp_path}/m[2]")
    assert published.returncode == 0, published.stderr
    assert not list(workdir.glob("checkpoints/damaged*"))


# TF_CONFIG.

TWO = {"worker": ["a:1", "b:2"]}
FIRST = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, '"cluster"'),
        ([], '"cluster"'),
        ({"cluster": None, "task": None}, '"cluster"'),
        ({"cluster": {"worker": None}, "task": FIRST}, '"task"'),
        ({"cluster": {"worker": "a:1"}, "task": FIRST}, "lists"),
        ({"cluster": {"worker": {"0": "a:1"}}, "task": FIRST}, "lists"),
        ({"cluster": {"worker": [None]}, "task": FIRST}, "HOST:PORT"),
        ({"cluster": {"worker": [["a:1"]]}, "task": FIRST}, "HOST:PORT"),
        ({"cluster": {"worker": ["a:99999"]}, "task": FIRST}, "HOST:PORT"),
        ({"cluster": {"worker": [":1"]}, "task": FIRST}, "HOST:PORT"),
        ({"cluster": TWO}, '"task"'),
        ({"cluster": TWO, "task": None}, '"task"'),
        ({"cluster": TWO, "task": {"type": "worker", "index": None}}, "worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": True}}, "worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": "first"}}, "worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": ["worker"], "index": 0}}, "worker 0, worker 1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": "2"}}, "worker 0, worker 1"),
    ],
)
def test_a_tf_config_that_is_none_is_refused_in_words(content, says):
    """Seen: null ended in a traceback."""
    with pytest.raises(InputError, match=says):
        devices.check_tf_config(json.dumps(content))


def test_what_schedulers_write_otherwise_is_understood():
    """Seen: an index as a text. TensorFlow itself gets a number, and no null."""
    given = {
        "cluster": {"chief": None, **TWO},
        "task": {"type": "worker", "index": "1"},
        "environment": None,
        "rpc_layer": "grpc",
    }
    assert devices.check_tf_config(json.dumps(given)) == (1, 2)
    plain = {"cluster": TWO, "task": {"type": "worker", "index": 1}, "rpc_layer": "grpc"}
    assert json.loads(devices._without_null(json.dumps(given))) == plain
    same = json.dumps(plain)
    assert devices._without_null(same) is same


@pytest.mark.parametrize("text", ["null", "{}", "no json", '{"cluster": null}'])
def test_without_several_machines_tf_config_is_not_read(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert devices.workers("default") == (0, 1)


# Sweeps.


def test_a_grid_of_tuples():
    """Seen: it was cut at the commas inside."""
    (search,) = space.parse_searches(["model.hidden_units=grid:(512,512), (256,),[8, 8, 8],16"])
    assert search.choices == ("(512, 512)", "(256,)", "(8, 8, 8)", 16)
    assert search.extremes() == ((512, 512), (256,), (8, 8, 8), 16)
    (words,) = space.parse_searches(["a=grid:'x,y',rms,(z"[:-3]])
    assert words.choices == ("x,y", "rms")
    for bad in ("a=grid:(1,2", "a=grid:1,2)", "a=grid:'x"):
        with pytest.raises(InputError, match="do not close"):
            space.parse_searches([bad])
    with pytest.raises(InputError, match="twice"):
        space.parse_searches(["a=grid:(1,2),(1, 2)"])


def test_a_sweep_over_tuples_gives_them_to_its_trials(tmp_path):
    search = ("model.hidden_units=grid:(8,8),(4,4)",)
    spec = Spec("configs/gaussians8_mp.py:tiny", tmp_path, search, 9, sampler="grid", pruner="none")
    plan = Plan(spec)
    assert plan.limit == 2
    job = plan.job("x", plan.points[0], tmp_path, ("trainer",))
    assert "model.hidden_units=(8, 8)" in job.settings
    study = optuna.create_study(sampler=plan.sampler(0))
    assert plan.searches[0].suggest(study.ask()) == "(8, 8)"


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a[1] é"])
def test_a_sweeps_storage_in_any_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    url = trials._sqlite(tmp_path / name / "sweep.db")
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(storage=storage, study_name="s")
    storage.remove_session()
    storage.engine.dispose()
    assert (tmp_path / name / "sweep.db").is_file()


# Logs, streams, homes.


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (None, False),
        ("0", True),
        ("1", False),
        ("2", False),
        ("3", False),
        ("", False),
        ("x", False),
    ],
)
def test_tensorflows_first_lines_are_shown_to_who_asks_for_all(monkeypatch, capfd, level, shown):
    """Seen: with a level of 1 to 3 there were more lines than with none."""
    fake = types.SimpleNamespace(
        config=types.SimpleNamespace(list_physical_devices=lambda: os.write(2, b"devices\n"))
    )
    monkeypatch.setattr(quiet, "_import", lambda *_: os.write(2, b"import\n") and fake)
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.delenv("TF_MIXED_NASH_QUIET", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if level is not None:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    monkeypatch.setenv("TF_MIXED_NASH_QUIET", "x")
    monkeypatch.delenv("TF_MIXED_NASH_QUIET")
    assert quiet.import_tensorflow() is fake
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == ("0" if shown else "3")
    assert ("import" in capfd.readouterr().err) == shown


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_reason_to_fail(closed):
    line = f"{sys.executable} -m trainers.solve --game=none.csv {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("2>&-" in closed) or done.stderr.startswith("error: ")


def test_text_that_a_stream_lacks_is_escaped():
    code = "from trainers.system import environment; environment.prepare(); print('é \\udcff')"
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.stdout, done.returncode) == ("\\xe9 \\udcff\n", 0), done.stderr


def test_backends_of_other_programs_are_not_ours(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://of.a.notebook")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    environment.prepare()
    assert (os.environ["MPLBACKEND"], os.environ["KERAS_BACKEND"]) == ("Agg", "tensorflow")


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert image_scores.cache_folder().is_absolute()
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert image_scores.cache_folder() == Path("/somewhere/tf_mixed_nash/real_statistics")
