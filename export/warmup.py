"""TF Serving's warm-up requests: read with the version, and replayed before it takes traffic.

A server runs every record of `assets.extra/tf_serving_warmup_requests` when it loads a version,
so that the first client does not wait for TensorFlow's first run of each graph. One record that
fails makes the load fail: `export.verify` replays them before a version is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from export import runtime
from tf_mixed_nash.errors import InputError

if TYPE_CHECKING:
    from export.runtime import ServedModel, Specs

__all__ = ["BATCH_SIZES", "FILE", "example_inputs", "read", "replay", "write"]

FILE = "assets.extra/tf_serving_warmup_requests"
# Rows of the records; also `allowed_batch_sizes` of the batching parameters of
# `export.tfserving`, so that a batching server meets only shapes that it has run before.
BATCH_SIZES = (1, 8, 16, 32, 64)


def example_inputs(specs: Specs, num: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Valid inputs for a signature of a published model, `num` rows of each.

    Args:
      specs: of the signature, from `ServedModel.signatures`.
      num: rows.
      seed: other seeds give other seeds and latents.
    """
    inputs = {}
    for name, (dtype, shape) in specs.items():
        shape = (num, *(1 if size is None else size for size in shape[1:]))
        if name == "seeds":
            inputs[name] = np.stack([np.full(num, seed), np.arange(num)], axis=1).astype(dtype)
        elif name == "latents":
            inputs[name] = np.random.default_rng(seed).normal(size=shape).astype(dtype)
        else:  # components and labels: 0 is always one of them
            inputs[name] = np.zeros(shape, dtype)
    return inputs


def write(directory: Path, model_name: str) -> Path:
    """Writes a record for every signature and batch size.

    Args:
      directory: of the SavedModel.
      model_name: for the records' model_spec.
    """
    tf = runtime.import_tensorflow()
    from tensorflow_serving.apis import prediction_log_pb2

    path = directory / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for signature, specs in sorted(runtime.read_signatures(directory).items()):
            for num in BATCH_SIZES:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = model_name
                request.model_spec.signature_name = signature
                for name, value in example_inputs(specs, num).items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
                records.write(log.SerializeToString())
    return path


def read(directory: Path) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
    """The records: (signature, inputs).

    Raises:
      InputError: if the file is damaged, or a record is no Predict request.
    """
    tf = runtime.import_tensorflow()
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        for record in tf.data.TFRecordDataset(str(directory / FILE)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            if log.WhichOneof("log_type") != "predict_log":
                raise InputError(f"{directory / FILE}: a record is no Predict request.")
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            yield request.model_spec.signature_name, inputs
    except (tf.errors.OpError, DecodeError) as error:
        raise InputError(f"{directory / FILE} is damaged ({type(error).__name__}).") from None


def replay(served: ServedModel, directory: Path) -> int:
    """Runs every record; returns how many there are.

    Raises:
      InputError: if one fails.
    """
    tf = runtime.import_tensorflow()
    num = 0
    for signature, inputs in read(directory):
        try:
            served.run(signature, inputs)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            reason, _, _ = str(error).partition("\n")
            raise InputError(f"Warm-up record {num} ({signature}) fails: {reason}") from None
        num += 1
    if not num:
        raise InputError(f"{directory / FILE} holds no whole record.")
    return num
