"""Describes the server and its models in the open protocol's messages."""

import json
from collections.abc import Iterable
from functools import cache

from vitrine.model import Shape
from vitrine.model.distribution import version
from vitrine.oip import inference_pb2 as pb
from vitrine.oip import model_config_pb2 as config_pb
from vitrine.server.engine.device import CPU_PROVIDER
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.inference.statistics import Duration, ModelStatistics
from vitrine.server.models.snapshot import Entry, EntryState, ServedModel
from vitrine.server.protocols.oip.interventions import optional_inputs
from vitrine.server.protocols.oip.outputs import DIGIT, IS_DIGIT, class_output, default_outputs

PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
"""Triton's names for an ONNX model and for the program that runs it."""

EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
"""The supported extensions of the protocol, by Triton's names."""

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
"""The states of a version."""


@cache
def write_server() -> pb.ServerMetadataResponse:
    """Describes the server; cached, because the version is looked up on disk."""
    return pb.ServerMetadataResponse(name="vitrine", version=version(), extensions=EXTENSIONS)


def write_metadata(model: ServedModel, versions: Iterable[ServedModel]) -> pb.ModelMetadataResponse:
    """Describes a model by its inputs and outputs, and lists these versions of it."""
    tensor, given = pb.ModelMetadataResponse.TensorMetadata, model.metadata.input
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=[served.version for served in versions],
        platform=PLATFORM,
        inputs=[tensor(name=given.name, datatype="UINT8", shape=(-1, *given.shape))],
        outputs=[
            tensor(name=name, datatype=datatype, shape=(-1, *extent)) for name, datatype, extent in _outputs(model)
        ],
    )


def write_config(model: ServedModel, max_images: int, batching: BatchingConfig) -> config_pb.ModelConfig:
    """Describes a model as the configuration of a Triton server would."""
    given = model.metadata.input
    return config_pb.ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_images,
        input=[
            config_pb.ModelInput(name=given.name, data_type=config_pb.TYPE_UINT8, dims=given.shape),
            *(
                config_pb.ModelInput(name=name, data_type=config_pb.TYPE_FP32, dims=layer.shape, optional=True)
                for name, layer in optional_inputs(model).items()
            ),
        ],
        output=[
            config_pb.ModelOutput(name=name, data_type=config_pb.DataType.Value(f"TYPE_{datatype}"), dims=extent)
            for name, datatype, extent in _outputs(model)
        ],
        instance_group=[_instances(model.engine.provider, batching.parallel)],
        dynamic_batching=config_pb.ModelDynamicBatching(max_queue_delay_microseconds=round(batching.max_delay * 1e6)),
        parameters={name: config_pb.ModelParameter(string_value=text) for name, text in _parameters(model).items()},
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=False),
    )


def _outputs(model: ServedModel) -> list[tuple[str, str, Shape]]:
    """Each default output: its name, its datatype, and its shape without the axis of images."""
    shapes = {layer.name: layer.shape for layer in model.metadata.layers}
    datatypes = {class_output(model): "INT64", IS_DIGIT: "BOOL"}
    return [(name, datatypes.get(name, "FP32"), shapes.get(name, ())) for name in default_outputs(model)]


def _parameters(model: ServedModel) -> dict[str, str]:
    """Facts without a field in the protocol: every layer as NAME:SHAPE (28x28 for two axes), labels, the threshold."""
    layers = ",".join(f"{layer.name}:{'x'.join(map(str, layer.shape))}" for layer in model.metadata.layers)
    threshold = model.metadata.novelty_threshold
    parameters = {"layers": layers} if class_output(model) == DIGIT else {"layers": layers, "classes": _labels(model)}
    return parameters if threshold is None else parameters | {"novelty_threshold": repr(threshold)}


def _labels(model: ServedModel) -> str:
    """The labels as a JSON list: they may contain any character."""
    return json.dumps(model.metadata.classes, ensure_ascii=False)


def _instances(provider: str, count: int) -> config_pb.ModelInstanceGroup:
    group = config_pb.ModelInstanceGroup
    return group(name=provider, count=count, kind=group.KIND_CPU if provider == CPU_PROVIDER else group.KIND_GPU)


def write_entry(entry: Entry) -> pb.RepositoryIndexResponse.ModelIndex:
    """Writes an entry of the list of models."""
    state = UNAVAILABLE if entry.state is EntryState.FAILED else READY
    return pb.RepositoryIndexResponse.ModelIndex(
        name=entry.name, version=entry.version, state=state, reason=entry.reason
    )


def write_statistics(model: ServedModel, done: ModelStatistics) -> pb.ModelStatistics:
    """Writes a model's statistics."""
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
            cache_hit=_duration(done.cache_hit),
            cache_miss=_duration(done.cache_miss),
        ),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=round(duration.seconds * 1e9))
