"""Describes the server and its models in the open protocol's messages."""

from collections.abc import Iterable
from functools import cache

from vitrine.model import PIXELS_SHAPE
from vitrine.model.distribution import version
from vitrine.oip import inference_pb2 as pb
from vitrine.oip import model_config_pb2 as config_pb
from vitrine.server.engine.device import CPU_PROVIDER
from vitrine.server.inference.batching import BatchingConfig
from vitrine.server.inference.statistics import Duration, ModelStatistics
from vitrine.server.models.snapshot import Entry, EntryState, ServedModel
from vitrine.server.protocols.oip.inputs import PIXELS
from vitrine.server.protocols.oip.outputs import DIGIT, IS_DIGIT, verdict_outputs

PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
"""What Triton calls an ONNX model, and what runs it."""

EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
"""The extensions of the protocol that are here, as Triton calls them."""

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
"""The states of a version."""


@cache
def write_server() -> pb.ServerMetadataResponse:
    """Says which server this is: always the same, which is looked up on disk."""
    return pb.ServerMetadataResponse(name="vitrine", version=version(), extensions=EXTENSIONS)


def write_metadata(model: ServedModel, versions: Iterable[ServedModel]) -> pb.ModelMetadataResponse:
    """Describes a model by its inputs and outputs, and lists these versions of it."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=[served.version for served in versions],
        platform=PLATFORM,
        inputs=[tensor(name=PIXELS, datatype="UINT8", shape=(-1, *PIXELS_SHAPE))],
        outputs=[
            tensor(name=name, datatype=datatype, shape=(-1, *extent)) for name, datatype, extent in _outputs(model)
        ],
    )


def write_config(model: ServedModel, max_images: int, batching: BatchingConfig) -> config_pb.ModelConfig:
    """Describes a model as the settings of a Triton server would."""
    return config_pb.ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_images,
        input=[config_pb.ModelInput(name=PIXELS, data_type=config_pb.TYPE_UINT8, dims=PIXELS_SHAPE)],
        output=[
            config_pb.ModelOutput(name=name, data_type=config_pb.DataType.Value(f"TYPE_{datatype}"), dims=extent)
            for name, datatype, extent in _outputs(model)
        ],
        instance_group=[_instances(model.engine.provider, batching.parallel)],
        dynamic_batching=config_pb.ModelDynamicBatching(max_queue_delay_microseconds=round(batching.max_delay * 1e6)),
        parameters={name: config_pb.ModelParameter(string_value=text) for name, text in _parameters(model).items()},
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=False),
    )


def _outputs(model: ServedModel) -> list[tuple[str, str, tuple[int, ...]]]:
    """Each output that comes unasked: its name, its datatype, and the extent of every axis but the images'."""
    widths = {layer.name: (layer.width,) for layer in model.metadata.layers}
    datatypes = {DIGIT: "INT64", IS_DIGIT: "BOOL"}
    return [(name, datatypes.get(name, "FP32"), widths.get(name, ())) for name in verdict_outputs(model)]


def _parameters(model: ServedModel) -> dict[str, str]:
    """What the protocol has no field for: every layer with its width, and the largest novelty of a digit."""
    layers = ",".join(f"{layer.name}:{layer.width}" for layer in model.metadata.layers)
    threshold = model.metadata.novelty_threshold
    return {"layers": layers} if threshold is None else {"layers": layers, "novelty_threshold": repr(threshold)}


def _instances(provider: str, count: int) -> config_pb.ModelInstanceGroup:
    group = config_pb.ModelInstanceGroup
    return group(name=provider, count=count, kind=group.KIND_CPU if provider == CPU_PROVIDER else group.KIND_GPU)


def write_entry(entry: Entry) -> pb.RepositoryIndexResponse.ModelIndex:
    """Writes a line of the list of models."""
    state = UNAVAILABLE if entry.state is EntryState.FAILED else READY
    return pb.RepositoryIndexResponse.ModelIndex(
        name=entry.name, version=entry.version, state=state, reason=entry.reason
    )


def write_statistics(model: ServedModel, done: ModelStatistics) -> pb.ModelStatistics:
    """Writes what a model has done."""
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=int(done.last * 1e3),
        inference_count=done.images,
        execution_count=done.runs,
        inference_stats=pb.InferStatistics(
            success=_duration(done.success),
            fail=_duration(done.failure),
            queue=_duration(done.queue),
            compute_input=_duration(done.input),
            compute_infer=_duration(done.compute),
            compute_output=_duration(done.output),
            cache_hit=pb.StatisticDuration(),
            cache_miss=pb.StatisticDuration(),
        ),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=round(duration.seconds * 1e9))
