"""Rewrites an artifact of an older format in the newest one: same graph, same parameters, new metadata.

It needs no PyTorch. The new file must give every output of the golden sample as the old one gave it, bit for bit.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError

from vitrine.model import ArtifactError, ArtifactMetadata
from vitrine.model.graph import INPUT
from vitrine.training.network.artifact_file import INLINE_LIMIT, data_path, open_session, publish_artifact


def upgrade(old: Path, new: Path, inline_limit: int = INLINE_LIMIT, *, overwrite: bool = False) -> ArtifactMetadata:
    """Writes the artifact `old`, of any readable format, to `new` in the newest format.

    Args:
        old: the .onnx file; its parameters may lie beside it.
        new: the .onnx file to write, another one than `old`, in a folder that exists.
        inline_limit: bytes of parameters up to which they are stored inside the file.
        overwrite: whether to replace a file that is there.

    Returns:
        The metadata of the new file.

    Raises:
        ArtifactError: `old` can't be read or is no artifact, `new` can't be written, or the new file calculates
            anything else.
    """
    _check_place(old, new, overwrite)
    model, metadata = read_artifact(old)
    before = _outputs(old, metadata.golden.pixels)

    def check(written: Path) -> None:
        after = _outputs(written, metadata.golden.pixels)
        for name, values in before.items():
            if after[name].tobytes() != values.tobytes():
                raise ArtifactError(f"{name} would change by the upgrade of {old}, which is a fault: report it")

    return publish_artifact(model, metadata, new, inline_limit, check)


def _check_place(old: Path, new: Path, overwrite: bool) -> None:
    if not new.parent.is_dir():
        raise ArtifactError(f"there is no folder {new.parent} for {new.name}: create it first")
    for place in (new, data_path(new)):
        for source in (old, data_path(old)):
            if place.exists() and source.exists() and place.samefile(source):
                raise ArtifactError(f"{new} would overwrite the original {old}: choose another file")
    if new.exists() and not overwrite:
        raise ArtifactError(f"{new} exists: choose another file, or replace it with --overwrite")


def read_artifact(path: Path) -> tuple[onnx.ModelProto, ArtifactMetadata]:
    """The model with all its parameters, and its metadata.

    Raises:
        ArtifactError: it can't be read, or is no artifact.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        metadata = ArtifactMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props})
        if metadata.data_sha256 is not None:
            _check_data(data_path(path), metadata.data_sha256)
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except OSError as error:
        raise ArtifactError(f"{error.filename or path} can't be read: {error.strerror}") from error
    except DecodeError as error:
        raise ArtifactError(f"{path} isn't an ONNX file, or is cut off") from error
    except ArtifactError as error:
        raise ArtifactError(f"{path} can't be read: {error}") from error
    return model, metadata


def _check_data(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ArtifactError(f"{path.name} beside it isn't the file that it was exported with")


def _outputs(path: Path, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Every output for some pixels, by name."""
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: pixels}), strict=True))
