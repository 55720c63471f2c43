"""Runs an artifact with ONNX Runtime: pixels in, the wanted layers' activations out.

It knows no gRPC, no requests and no limits. One engine may be called from several threads at once.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.model import NOVELTY, TOLERANCE, ArtifactError, GoldenSample, deviations
from vitrine.model.distribution import install_command
from vitrine.model.errors import shortened
from vitrine.model.graph import INPUT
from vitrine.server.engine.artifact import NOWHERE, Artifact
from vitrine.server.engine.device import CPU_PROVIDER, CUDA_PROVIDER, Device
from vitrine.server.engine.memory import return_free_memory, return_large_blocks
from vitrine.server.engine.runtime import onnxruntime
from vitrine.server.errors import StartupError

logger = logging.getLogger(__name__)

LONGEST_CAUSE = 400
"""Characters that are shown of an error of ONNX Runtime, which may quote the file."""

CUDA_OPTIONS = {"use_tf32": "0"}
"""TF32 keeps 10 bits of a product's mantissa: activations would deviate by 1e-3."""


class Engine:
    """One artifact, loaded and checked against its golden sample; make it with `open_engine`."""

    def __init__(self, session: onnxruntime.InferenceSession, provider: str, weights: Sequence[Any] = ()) -> None:
        self._session = session
        self._provider = provider
        self._weights = weights  # the session runs on them, and doesn't keep them

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider that runs the model."""
        return self._provider

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Calculates activations.

        Args:
            pixels: uint8 (N, *the model's input shape), 0 = white, 255 = black, in row-major order.
            layers: the names of the layers that are wanted, `NOVELTY` among them where the artifact has it; at least
                one. Only these are copied out.

        Returns:
            float32 (N, *the layer's shape) for each of `layers`, in their order, and (N,) for the novelty.
        """
        return dict(zip(layers, self._session.run(list(layers), {INPUT: pixels}), strict=True))


def open_engine(artifact: Artifact, device: Device, available: Sequence[str] | None = None) -> Engine:
    """Loads an artifact on a device and checks that it computes there what it computed in training.

    Args:
        artifact: the artifact.
        device: the device to run it on.
        available: the execution providers to choose from; None asks ONNX Runtime.

    Raises:
        StartupError: `device` is cuda and there is no working CUDA provider.
        ArtifactError: ONNX Runtime can't load the artifact, or its golden sample disagrees.
    """
    available = onnxruntime.get_available_providers() if available is None else available
    match device:
        case Device.CPU:
            return _open_on_cpu(artifact)
        case Device.CUDA:
            return _open_on_cuda(artifact, available)
        case Device.AUTO:
            return _open_anywhere(artifact, available)


def _open_anywhere(artifact: Artifact, available: Sequence[str]) -> Engine:
    if CUDA_PROVIDER in available:
        try:
            return _open_on_cuda(artifact, available)
        except StartupError as error:
            logger.warning("the CPU takes over, since CUDA doesn't work: %s", error)
    return _open_on_cpu(artifact)


def _open_on_cuda(artifact: Artifact, available: Sequence[str]) -> Engine:
    if CUDA_PROVIDER not in available:
        raise StartupError(
            "the device is cuda, but this ONNX Runtime has no CUDA provider: replace it with "
            f"`pip uninstall onnxruntime && {install_command('server-cuda')}`, or take --device cpu"
        )
    try:
        return _open(artifact, CUDA_PROVIDER, CUDA_OPTIONS)
    except _RuntimeFailure as error:
        raise StartupError(
            "the device is cuda, and ONNX Runtime's CUDA provider doesn't work: check the driver with `nvidia-smi`, "
            f"and that CUDA and cuDNN are the versions that this onnxruntime-gpu needs ({error})"
        ) from error


def _open_on_cpu(artifact: Artifact) -> Engine:
    try:
        return _open(artifact, CPU_PROVIDER)
    except _RuntimeFailure as error:
        raise ArtifactError(f"ONNX Runtime can't run it: {error}") from error


class _RuntimeFailure(Exception):  # noqa: N818 - never leaves this module
    """ONNX Runtime can't make a session, or can't run it."""


def _open(artifact: Artifact, provider: str, options: Mapping[str, str] | None = None) -> Engine:
    """An engine on that provider and no other, which has recomputed the golden sample there."""
    settings = session_options(provider)
    weights = _give_weights(settings, artifact, provider)
    try:
        session = onnxruntime.InferenceSession(
            artifact.data,
            settings,
            providers=[(provider, dict(options or {}))],
            enable_fallback=0,  # or it prints a notice on standard output, and goes on with the CPU
        )
        engine = Engine(session, session.get_providers()[0], weights)
        if engine.provider != provider:
            raise _RuntimeFailure(f"it took {engine.provider} instead")
        golden = artifact.metadata.golden
        computed = engine.run(golden.pixels, list(_expected(golden)))
    except Exception as error:  # ONNX Runtime has one class for each of its status codes, and raises others too
        raise _RuntimeFailure(_first_line(error)) from error
    check_golden_sample(computed, golden, *artifact.metadata.layers[-1].reads)
    if weights:
        return_free_memory()  # what reading and loading has left over
    return engine


def session_options(provider: str) -> Any:
    """One thread a run and no spinning: these models take microseconds, and ONNX Runtime's pool ignores quotas."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised; it needn't be printed as well
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != CPU_PROVIDER:  # else ONNX Runtime would warn, and run on the CPU
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _give_weights(options: Any, artifact: Artifact, provider: str) -> list[Any]:
    """Hands over the weights that were read beside the file; gives those that must live as long as the session.

    On the CPU, ONNX Runtime runs on these very bytes, which other processes share: `add_external_initializers` would
    copy them, and so would prepacking, which lays a matrix out anew.
    """
    if not artifact.beside:
        return []
    values = {f"{layer}.weight": stored.weight for layer, stored in artifact.parameters.items()}
    values |= {f"{layer}.bias": stored.bias for layer, stored in artifact.parameters.items()}
    names = sorted(artifact.beside)
    weights = [onnxruntime.OrtValue.ortvalue_from_numpy(values[name]) for name in names]
    if provider != CPU_PROVIDER:
        options.add_external_initializers(names, weights)
        return []
    return_large_blocks()
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest run
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(NOWHERE.parent))
    for name, value in zip(names, weights, strict=True):
        options.add_initializer(name, value)
    return weights


def check_golden_sample(computed: Mapping[str, npt.NDArray[np.float32]], golden: GoldenSample, logits: str) -> None:
    """Compares what was computed for the golden sample's pixels with what training computed.

    Raises:
        ArtifactError: a layer, or the novelty, deviates by more than `TOLERANCE`.
    """
    for name, difference in deviations(computed, _expected(golden), logits).items():
        if not difference <= TOLERANCE:
            raise ArtifactError(
                f"its golden sample disagrees: {name} deviates by {difference:.2g} from what training computed, "
                f"and {TOLERANCE:g} is allowed"
            )


def _expected(golden: GoldenSample) -> dict[str, npt.NDArray[np.float32]]:
    """All that training computed for the golden sample, by the names of the graph's outputs."""
    novelty = {} if golden.novelty is None else {NOVELTY: golden.novelty}
    return {**golden.activations, **novelty}


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return shortened(text.splitlines()[0], LONGEST_CAUSE) if text else type(error).__name__
