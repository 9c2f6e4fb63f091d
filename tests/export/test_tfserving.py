"""The deployment files, by the protos and parsers of those who read them."""

from __future__ import annotations

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from export import warmup
from export.serving import config
from export.tfserving import __main__ as tfserving
from tf_mixed_nash.errors import InputError


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models" / "8 Gaussians".replace(" ", "_")
    for version in (2, 5, 9):
        (folder / str(version)).mkdir(parents=True)
    return folder


def parsed(text):
    message = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(text, message).model_config_list.config[0]


def test_models_config_serves_both_labels(model):
    entry = parsed(tfserving.render(model)["models.config"])
    assert (entry.name, entry.base_path) == ("8_Gaussians", "/models/8_Gaussians")
    assert entry.model_platform == "tensorflow"
    assert dict(entry.version_labels) == {"stable": 5, "canary": 9}
    assert list(entry.model_version_policy.specific.versions) == [5, 9]


def test_the_first_version_has_both_labels(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    entry = parsed(tfserving.render(tmp_path / "m")["models.config"])
    assert dict(entry.version_labels) == {"stable": 1, "canary": 1}
    assert list(entry.model_version_policy.specific.versions) == [1]


def test_labels_can_be_chosen(model):
    entry = parsed(tfserving.render(model, stable=2, canary=5)["models.config"])
    assert dict(entry.version_labels) == {"stable": 2, "canary": 5}


def test_batching_agrees_with_the_warm_up(model, tmp_path):
    path = tmp_path / "b.txt"
    path.write_text(tfserving.render(model, threads=3)["batching_parameters.txt"])
    given = text_format.Parse(path.read_text(), config.batching_parameters_class()())
    assert tuple(given.allowed_batch_sizes) == warmup.BATCH_SIZES
    assert given.max_batch_size.value == warmup.BATCH_SIZES[-1]
    batching = config.read_batching(path)
    assert (batching.max_batch_size, batching.num_batch_threads) == (64, 3)


def test_monitoring(model, tmp_path):
    path = tmp_path / "m.txt"
    path.write_text(tfserving.render(model)["monitoring.config"])
    assert config.read_monitoring_path(path) == "/monitoring/prometheus/metrics"
    path.write_text("prometheus_config { enable: false }")
    assert config.read_monitoring_path(path) is None


def test_compose_and_kubernetes_start_the_same_server(model):
    files = tfserving.render(model, image="registry/serving:1")
    service = yaml.safe_load(files["compose.yaml"])["services"]["8-gaussians"]
    assert service["image"] == "registry/serving:1"
    assert service["volumes"][0]["source"] == str(model)
    assert service["volumes"][0]["target"] == "/models/8_Gaussians"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "/v1/models/8_Gaussians" in service["healthcheck"]["test"][-1]
    maps, deployment, svc = yaml.safe_load_all(files["kubernetes.yaml"])
    for name in ("models.config", "batching_parameters.txt", "monitoring.config"):
        assert maps["data"][name].strip() == files[name].strip()
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == service["command"]
    assert container["readinessProbe"]["exec"]["command"] == service["healthcheck"]["test"][1:]
    assert svc["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    flags = [flag.partition("=")[2] for flag in service["command"] if "/config/" in flag]
    assert mounts == {"/models/8_Gaussians", "/config"}
    assert {f"/config/{name}" for name in maps["data"]} == set(flags)


def test_the_command(command, model):
    code, out, _ = command(tfserving, f"--model={model}")
    assert code == 0
    folder = model.parent / "8_Gaussians-tfserving"
    assert sorted(p.name for p in folder.iterdir()) == sorted(tfserving.FILES)
    assert "docker compose" in out


def test_bad_input(refused, model, tmp_path):
    assert "Versions: 2, 5, 9" in refused(tfserving, f"--model={model}", "--canary=7")
    assert "--stable=3" in refused(tfserving, f"--model={model}", "--stable=3")
    assert "No such model" in refused(tfserving, f"--model={tmp_path / 'none'}")
    odd = tmp_path / 'a"b'
    (odd / "1").mkdir(parents=True)
    with pytest.raises(InputError, match="quoting"):
        tfserving.render(odd)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        ("models", "model_config_list { config { name: 'a' } }", "name and a base_path"),
        ("models", "", "lists no model"),
        ("models", "nonsense {", "no ModelServerConfig"),
        (
            "models",
            "model_config_list { config { name: 'a' base_path: '/x' } "
            "config { name: 'a' base_path: '/y' } }",
            "twice",
        ),
        (
            "models",
            "model_config_list { config { name: 'a' base_path: '/x' model_platform: 'torch' } }",
            "'torch'",
        ),
        ("batching", "max_batch_size { value: 0 }", "max_batch_size is 0"),
        ("batching", "max_batch_size { value: 9 } allowed_batch_sizes: 8", "end with"),
        ("batching", "max_size: 3", "no BatchingParameters"),
        ("monitoring_path", "prometheus { }", "no MonitoringConfig"),
    ],
)
def test_bad_files(tmp_path, read, text, says):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        getattr(config, f"read_{read}")(path)
