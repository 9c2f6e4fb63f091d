"""TensorFlow Serving's protocol, by its official stubs and by ovmsclient; see conftest.TFS_ADDR."""

from __future__ import annotations

import base64
import io
import json

import grpc
import numpy as np
import ovmsclient
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.export.conftest import LATENT_DIM, seed_array
from tests.export.serving.conftest import ask

LATENTS = np.random.default_rng(3).normal(size=(9, LATENT_DIM)).astype(np.float32)
COMPONENTS = np.arange(9) % 3
LABELS = np.arange(9) % 4
SEEDS = seed_array(2**40 + 5, 9)


def expected(signatures, model, version, signature, inputs):
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    return {n: v.numpy() for n, v in signatures[model, version][signature](**tensors).items()}


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(served.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def make_request(model, inputs, signature="", version=None, label=None):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


CALLS = [
    ("points", 1, "serving_default", {"seeds": SEEDS}),
    ("points", 1, "sample", {"seeds": SEEDS}),
    ("points", 2, "sample", {"seeds": SEEDS}),
    ("points", 1, "draw", {"seeds": SEEDS}),
    ("points", 1, "generate", {"latents": LATENTS}),
    ("points", 1, "generate_component", {"latents": LATENTS, "components": COMPONENTS}),
    ("images", 1, "sample", {"seeds": SEEDS}),
    ("images", 1, "sample_png", {"seeds": SEEDS}),
    ("images", 1, "sample_class", {"seeds": SEEDS, "labels": LABELS}),
    ("images", 1, "sample_class_png", {"seeds": SEEDS, "labels": LABELS}),
    ("images", 1, "generate", {"latents": LATENTS, "labels": LABELS}),
    ("images", 1, "generate_png", {"latents": LATENTS, "labels": LABELS}),
    (
        "images",
        1,
        "generate_component_png",
        {"latents": LATENTS, "components": COMPONENTS, "labels": LABELS},
    ),
]
IDS = [f"{c[0]}{c[1]}-{c[2]}" for c in CALLS]


# The same bytes.


@pytest.mark.parametrize(("model", "version", "signature", "inputs"), CALLS, ids=IDS)
def test_grpc_gives_the_bytes_of_the_saved_model(
    stub, signatures, model, version, signature, inputs
):
    response = stub.Predict(make_request(model, inputs, signature, version), timeout=30)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (model, version, signature)
    answer = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    want = expected(signatures, model, version, signature, inputs)
    assert answer.keys() == want.keys()
    for name, value in want.items():
        assert answer[name].dtype == value.dtype
        np.testing.assert_array_equal(answer[name], value, err_msg=name)


def as_json(value):
    if value.dtype == object:
        return [{"b64": base64.b64encode(x).decode()} for x in value]
    return value.tolist()


@pytest.mark.parametrize(("model", "version", "signature", "inputs"), CALLS, ids=IDS)
def test_both_forms_of_rest_give_the_bytes_of_the_saved_model(
    served, signatures, model, version, signature, inputs
):
    path = f"/v1/models/{model}/versions/{version}:predict"
    columns = {name: value.tolist() for name, value in inputs.items()}
    only = next(iter(columns.values())) if len(columns) == 1 else None
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    named = {"signature_name": signature}
    requests = [{**named, "inputs": columns}, {**named, "instances": rows}]
    if only is not None:
        requests += [{**named, "inputs": only}, {**named, "instances": only}]
    answers = ask(served.rest, *(("POST", path, r) for r in requests))
    want = expected(signatures, model, version, signature, inputs)
    for request, (status, content) in zip(requests, answers, strict=True):
        assert status == 200, content
        (key,) = content
        assert key == ("outputs" if "inputs" in request else "predictions")
        got = content[key]
        if len(want) > 1 and key == "predictions":
            got = {name: [row[name] for row in got] for name in want}
        elif len(want) == 1:
            got = {next(iter(want)): got}
        for name, value in want.items():
            if value.dtype == object:
                assert got[name] == as_json(value)
            else:
                # JSON has decimals: each must read back as the same float32.
                same = np.array(got[name]).astype(value.dtype)
                assert same.tobytes() == value.tobytes(), name


def test_ovmsclient_gives_the_same_bytes(served, signatures):
    """An independent client; its HTTP one needs an explicit version."""
    want = expected(signatures, "points", 2, "serving_default", {"seeds": SEEDS})["samples"]
    by_grpc = ovmsclient.make_grpc_client(served.grpc)
    by_http = ovmsclient.make_http_client(served.rest.removeprefix("http://"))
    for client in (by_grpc, by_http):
        answer = client.predict({"seeds": SEEDS}, "points", 2)
        assert answer.astype(np.float32).tobytes() == want.tobytes()
        status = client.get_model_status("points", 2)
        assert status[2]["state"] == "AVAILABLE"
    metadata = by_grpc.get_model_metadata("points", 1)
    assert metadata["inputs"]["seeds"] == {"shape": [-1, 2], "dtype": "DT_INT64"}
    with pytest.raises(ovmsclient.tfs_compat.base.errors.ModelNotFoundError):
        by_grpc.predict({"seeds": SEEDS}, "nothing")


def test_a_png_is_the_image(served):
    (answer,) = ask(
        served.rest,
        ("POST", "/v1/models/images:predict", {"signature_name": "sample_png", "inputs": [[3, 1]]}),
    )
    (value,) = answer[1]["outputs"]
    with Image.open(io.BytesIO(base64.b64decode(value["b64"]))) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (28, 28), "L")


# Versions and labels.


def samples_of(served, where):
    path = f"/v1/models/points{where}:predict"
    ((status, content),) = ask(served.rest, ("POST", path, {"instances": SEEDS.tolist()}))
    assert status == 200, content
    return content["predictions"]


def test_versions_and_labels_by_rest(served):
    first, second = samples_of(served, "/versions/1"), samples_of(served, "/versions/2")
    assert first != second
    assert samples_of(served, "/labels/stable") == first
    assert samples_of(served, "/labels/canary") == second
    assert samples_of(served, "") == second, "the newest"


def test_versions_and_labels_by_grpc(stub):
    def version_of(**choice):
        request = make_request("points", {"seeds": SEEDS}, **choice)
        return stub.Predict(request, timeout=30).model_spec.version.value

    assert version_of(version=1) == version_of(label="stable") == 1
    assert version_of(version=2) == version_of(label="canary") == version_of() == 2


# Status and metadata.


def test_status(served, channel):
    answers = ask(
        served.rest,
        ("GET", "/v1/models/points", None),
        ("GET", "/v1/models/points/versions/1", None),
    )
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert answers == [
        (200, {"model_version_status": [{"version": v, **available} for v in "21"]}),
        (200, {"model_version_status": [{"version": "1", **available}]}),
    ]
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "points"
    response = service.GetModelStatus(request, timeout=30)
    state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert sorted((s.version, s.state) for s in response.model_version_status) == [
        (1, state),
        (2, state),
    ]


def test_metadata_is_the_same_by_both_protocols(served, stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "images"
    response = stub.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    ((status, content),) = ask(served.rest, ("GET", "/v1/models/images/metadata", None))
    assert status == 200
    assert content["model_spec"] == {"name": "images", "signature_name": "", "version": "1"}
    by_rest = content["metadata"]["signature_def"]["signature_def"]
    assert set(by_rest) == {n for n in signatures.signature_def if not n.startswith("__")}
    seeds = by_rest["sample_png"]["inputs"]["seeds"]
    assert seeds["dtype"] == "DT_INT64"
    assert [d["size"] for d in seeds["tensor_shape"]["dim"]] == ["-1", "2"]
    info = signatures.signature_def["sample_png"].inputs["seeds"]
    assert [d.size for d in info.tensor_shape.dim] == [-1, 2]
    assert by_rest["sample_png"]["method_name"] == "tensorflow/serving/predict"


def test_an_output_filter_chooses_outputs(stub):
    request = make_request("points", {"seeds": SEEDS}, "draw", 1)
    request.output_filter.append("components")
    assert set(stub.Predict(request, timeout=30).outputs) == {"components"}


# Errors.

POINTS = "/v1/models/points:predict"
BAD_REST = [
    ("POST", "/v1/models/nothing:predict", {"instances": [[0, 0]]}, 404, "nothing"),
    ("POST", "/v1/models/points/versions/7:predict", {"instances": [[0, 0]]}, 404, "points"),
    ("POST", "/v1/models/points/labels/best:predict", {"instances": [[0, 0]]}, 400, "best"),
    ("GET", "/v1/models/nothing", None, 404, "nothing"),
    ("GET", "/v1/models/points/versions/7", None, 404, "7"),
    ("GET", "/v1/models/nothing/metadata", None, 404, "nothing"),
    ("POST", POINTS, b"{", 400, "JSON"),
    ("POST", POINTS, b"", 400, "empty"),
    ("POST", POINTS, b"[1]", 400, "object"),
    ("POST", POINTS, {}, 400, "instances"),
    ("POST", POINTS, {"instances": []}, 400, "instances"),
    ("POST", POINTS, {"instances": 3}, 400, "instances"),
    ("POST", POINTS, {"instances": [[0, 0]], "inputs": [[0, 0]]}, 400, "only"),
    ("POST", POINTS, {"instances": [[0, 0], [1]]}, 400, ""),
    ("POST", POINTS, {"instances": [[0, 0.5]]}, 400, "int64"),
    ("POST", POINTS, {"instances": [["0", "0"]]}, 400, "int64"),
    ("POST", POINTS, {"instances": [[True, 0]]}, 400, "int64"),
    ("POST", POINTS, {"instances": [[None, 0]]}, 400, "int64"),
    ("POST", POINTS, {"instances": [[2**63, 0]]}, 400, "int64"),
    ("POST", POINTS, {"instances": [{"b64": "AAAA"}]}, 400, ""),
    ("POST", POINTS, {"instances": [[0, 0, 0]]}, 400, "seeds"),
    ("POST", POINTS, {"instances": [{"seeds": [0, 0]}, [0, 1]]}, 400, ""),
    ("POST", POINTS, {"inputs": {"latents": [[0, 0]]}}, 400, "seeds"),
    ("POST", POINTS, {"instances": [[0, 0]], "signature_name": "no"}, 400, "no"),
    ("POST", POINTS, {"instances": [[0, 0]], "signature_name": 5}, 400, "signature_name"),
    (
        "POST",
        "/v1/models/points/versions/1:predict",
        {"signature_name": "generate_component", "inputs": [[0, 0, 0]]},
        400,
        "",
    ),
    (
        "POST",
        "/v1/models/points/versions/1:predict",
        {
            "signature_name": "generate_component",
            "inputs": {"latents": [[0, 0, 0]], "components": [8]},
        },
        400,
        "components must be in",
    ),
    ("GET", "/v1/models", None, 400, ""),
    ("GET", "/v1/other", None, 400, "Malformed request: GET /v1/other"),
    ("GET", POINTS, None, 400, "Malformed request"),
    ("GET", "/v2/models", None, 404, ""),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "says"), BAD_REST)
def test_rest_errors(served, method, path, body, status, says):
    ((got, content),) = ask(served.rest, (method, path, body))
    assert got == status, content
    if served.embedded:  # TensorFlow Serving words some of them otherwise
        assert says in content["error"]
        assert "Traceback" not in content["error"]
        assert set(content) == {"error"}


def bad_spec(request, **fields):
    for name, value in fields.items():
        setattr(request.model_spec, name, value)
    return request


def bad_tensor(**fields):
    request = make_request("points", {"seeds": SEEDS})
    request.inputs["seeds"].Clear()
    proto = request.inputs["seeds"]
    proto.dtype = fields.get("dtype", tf.int64.as_datatype_enum)
    for size in fields["shape"]:
        proto.tensor_shape.dim.add(size=size)
    proto.int64_val.extend(fields.get("values", []))
    proto.tensor_content = fields.get("content", b"")
    return request


BAD_GRPC = {
    "no_model": (lambda: make_request("nothing", {"seeds": SEEDS}), "NOT_FOUND"),
    "no_name": (lambda: make_request("", {"seeds": SEEDS}), "INVALID_ARGUMENT"),
    "no_version": (lambda: make_request("points", {"seeds": SEEDS}, version=7), "NOT_FOUND"),
    "no_label": (lambda: make_request("points", {"seeds": SEEDS}, label="x"), "INVALID_ARGUMENT"),
    "no_signature": (lambda: make_request("points", {"seeds": SEEDS}, "x"), "INVALID_ARGUMENT"),
    "no_input": (lambda: make_request("points", {}), "INVALID_ARGUMENT"),
    "other_input": (lambda: make_request("points", {"x": SEEDS}), "INVALID_ARGUMENT"),
    "other_type": (
        lambda: make_request("points", {"seeds": SEEDS.astype(np.int32)}), "INVALID_ARGUMENT"),
    "other_shape": (lambda: make_request("points", {"seeds": SEEDS[0]}), "INVALID_ARGUMENT"),
    "short_content": (
        lambda: bad_tensor(shape=[2, 2], content=b"1234"), "INVALID_ARGUMENT"),
    "values_refused": (
        lambda: make_request("points", {"latents": LATENTS, "components": COMPONENTS - 1},
                             "generate_component", 1), "INVALID_ARGUMENT"),
    "filter": (
        lambda: (lambda r: (r.output_filter.append("x"), r)[1])(
            make_request("points", {"seeds": SEEDS})), "INVALID_ARGUMENT"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_GRPC)
def test_grpc_errors(stub, served, case):
    make, code = BAD_GRPC[case]
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(make(), timeout=30)
    assert error.value.code().name == code
    assert "Traceback" not in error.value.details()
    if served.embedded:
        assert error.value.details()


def test_a_small_message_cannot_claim_memory(stub, served):
    """One value for 2**40 rows: refused by its shape, before anything is allocated."""
    if not served.embedded:
        pytest.skip("what is tested is this server's care")
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(bad_tensor(shape=[2**40, 2], values=[1]), timeout=30)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a request takes 1 to 1024" in error.value.details()


def test_other_methods_are_unimplemented(stub, served):
    if not served.embedded:
        pytest.skip("TensorFlow Serving has them")
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(classification_pb2.ClassificationRequest(), timeout=30)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    answers = ask(served.rest, ("POST", "/v1/models/points:classify", {"examples": []}))
    assert answers[0][0] == 501


def test_metadata_of_another_field_is_refused(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["weights"])
    request.model_spec.name = "points"
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModelMetadata(request, timeout=30)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_many_rows_are_split_and_joined(stub, signatures):
    seeds = seed_array(11, 300)
    response = stub.Predict(make_request("points", {"seeds": seeds}, "sample", 1), timeout=30)
    want = expected(signatures, "points", 1, "sample", {"seeds": seeds})["samples"]
    assert tf.make_ndarray(response.outputs["samples"]).tobytes() == want.tobytes()


def test_json_numbers_are_the_shortest_that_read_back(served):
    ((_, content),) = ask(
        served.rest, ("POST", "/v1/models/points/versions/1:predict", {"instances": [[0, 0]]})
    )
    text = json.dumps(content)
    assert all(len(x.strip("-")) <= 13 for x in text.split("[[")[1].strip("]}").split(", "))
