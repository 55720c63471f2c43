"""Puts an artifact's ONNX file in its place: parameters inside or beside it, checked before it is published.

It knows files, ONNX and ONNX Runtime, and no PyTorch.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper

from vitrine.model import ArtifactMetadata
from vitrine.training.files.atomic import publish
from vitrine.training.network.runtime import onnxruntime

INLINE_LIMIT = 16 << 20
"""Bytes of parameters up to which they are stored inside the ONNX file.

Above, they lie in a file beside it. A server reads that file once, while protobuf would hold a second copy, and ends at
2 GiB.
"""

BESIDE_BYTES = 1024
"""Bytes of a tensor from which on it lies in that file."""


def publish_artifact(
    model: onnx.ModelProto,
    metadata: ArtifactMetadata,
    path: Path,
    inline_limit: int,
    check: Callable[[Path], None],
) -> ArtifactMetadata:
    """Writes a model and its metadata to `path`, after the written file has passed ONNX's checker and `check`.

    What was at `path` stays when a check fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        metadata = _write(model, metadata, written, inline_limit)
        onnx.checker.check_model(str(written), full_check=True)  # the file: in memory its limit is 2 GiB
        check(written)
        _publish(written, path)
    return metadata


def data_path(path: Path) -> Path:
    """The file beside the ONNX file at `path` for parameters that are too large to be inside."""
    return path.with_name(path.name + ".data")


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU with one thread, as models are served; more threads would only wait for each other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _write(model: onnx.ModelProto, metadata: ArtifactMetadata, path: Path, inline_limit: int) -> ArtifactMetadata:
    digest = None
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > inline_limit:
        data = data_path(path)
        for (
            tensor
        ) in model.graph.initializer:  # onnx's own helper refuses a name that is taken in the working directory
            if len(tensor.raw_data) >= BESIDE_BYTES:
                onnx.external_data_helper.set_external_data(tensor, data.name)
        onnx.external_data_helper.write_external_data_tensors(model, str(path.parent))
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = replace(metadata, data_sha256=digest)
    helper.set_model_props(model, metadata.to_properties())
    path.write_bytes(model.SerializeToString())
    return metadata


def _publish(written: Path, path: Path) -> None:
    """Moves the checked files to their place; the weights first, so that no ONNX file is ever there without them."""
    inline = not data_path(written).exists()
    if not inline:
        publish(data_path(written), data_path(path))
    publish(written, path)
    if inline:
        data_path(path).unlink(missing_ok=True)
