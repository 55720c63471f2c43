"""Translates the outputs of a request into a selection of layers, and an answer into tensors.

It checks the errors of this protocol alone, and words them as Triton does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS, ENVELOPE_BYTES, NOVELTY
from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import AnswerTooLarge, InvalidRequest, listed, quoted
from vitrine.server.inference.requests import Classification, LayerSelection
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.oip.inputs import LENGTH

DIGIT, CLASS, IS_DIGIT = "digit", "class", "is_digit"
"""Names of the outputs that are no layers, beside the novelty's. The position of the predicted class is `digit` for
digits, and `class` for other classes."""

NOVELTY_BYTES = 4
"""Bytes of an image's novelty, a float32."""

OUTPUT_BYTES = 128
"""Generous estimate of the bytes of an output's name, shape and frame in an answer."""

STREAM_BYTES = 64
"""Generous estimate of the bytes that a stream adds to an answer."""

Wanted: TypeAlias = pb.ModelInferRequest.InferRequestedOutputTensor
ReadOutput: TypeAlias = Callable[[Classification], npt.NDArray[Any]]


def class_output(model: ServedModel) -> str:
    """The name of the output for the predicted class, INT64: its position among the classes, which a digit equals."""
    classes = model.metadata.classes
    return DIGIT if classes == DIGITS[: len(classes)] else CLASS


def default_outputs(model: ServedModel) -> tuple[str, ...]:
    """The outputs of a request that names none, which every answer of the service has.

    They are the predicted class, the output layer and, if the model has a threshold, the novelty and `is_digit`.
    """
    outputs = (class_output(model), model.metadata.layers[-1].name)
    return outputs if model.metadata.novelty_threshold is None else (*outputs, NOVELTY, IS_DIGIT)


def read_outputs(message: pb.ModelInferRequest, model: ServedModel) -> LayerSelection:
    """The selected layers without the output layer, which every answer of the service has.

    Raises:
        InvalidRequest: the model has no such output, or the output no classes.
    """
    always_there, layers = default_outputs(model), [layer.name for layer in model.metadata.layers]
    for index, output in enumerate(message.outputs):
        if output.name not in always_there and output.name not in layers:
            text = f"unexpected inference output {quoted(output.name)} for model {model.name!r}; "
            text += f"it has: {listed(dict.fromkeys((always_there[0], *layers, *always_there)))}"
            raise InvalidRequest("UNKNOWN_OUTPUT", text, f"outputs[{index}].name")
        _check_classification(output, layers[-1], f"outputs[{index}].parameters")
    return LayerSelection(names=tuple(dict.fromkeys(o.name for o in message.outputs if o.name not in always_there)))


def _check_classification(output: Wanted, output_layer: str, field: str) -> None:
    if "classification" not in output.parameters:
        return
    count = output.parameters["classification"]
    if count.WhichOneof("parameter_choice") != "int64_param":
        text = "invalid value type for 'classification' parameter, expected int64_param"
    elif count.int64_param < 1:
        text = f"invalid value for 'classification' parameter, expected >= 1, got {count.int64_param}"
    elif output.name != output_layer:
        text = f"'classification' is for the output layer, {output_layer!r}: {output.name!r} has no classes"
    else:
        return
    raise InvalidRequest("WRONG_PARAMETER", text, field)


def further_bytes(message: pb.ModelInferRequest, model: ServedModel) -> int:
    """Largest number of bytes of each image in the answer besides activations, the predicted class and `is_digit`."""
    wanted = wanted_outputs(message, model)
    return _class_bytes(wanted, model) + (NOVELTY_BYTES if NOVELTY in wanted else 0)


def _class_bytes(wanted: Mapping[str, int], model: ServedModel) -> int:
    """Largest number of bytes of each image's most probable classes, as many as are wanted."""
    count = max(wanted.values(), default=0)
    if not count:
        return 0
    texts = (_class_text(1.0, index, label) for index, label in enumerate(model.metadata.classes))
    longest = sorted((LENGTH.size + len(text) for text in texts), reverse=True)
    return sum(longest[:count])


def check_size(response: pb.ModelInferResponse, limit: int) -> None:
    """Refuses an answer that can't be sent: gRPC would end a stream over it.

    Measuring a message means encoding it, so that only messages near the limit are measured.

    Raises:
        AnswerTooLarge: it has more than `limit` bytes.
    """
    reserve = ENVELOPE_BYTES + OUTPUT_BYTES * len(response.outputs)
    if sum(map(len, response.raw_output_contents)) + reserve <= limit:
        return
    size = response.ByteSize() + STREAM_BYTES
    if size > limit:
        text = f"the answer would be {size:,} bytes, and {limit:,} are sent at most: send fewer images at a time"
        raise AnswerTooLarge("ANSWER_TOO_LARGE", text, "outputs")


def write_response(message: pb.ModelInferRequest, answer: Classification) -> pb.ModelInferResponse:
    """Writes the answer to a request that `read_outputs` has checked."""
    response = pb.ModelInferResponse(model_name=answer.model.name, model_version=answer.model.version, id=message.id)
    for name, classes in wanted_outputs(message, answer.model).items():
        if classes:
            _add_classes(response, name, answer, classes)
        else:
            datatype, read = output_of(answer.model, name)
            values = read(answer)
            _add(response, name, datatype, values.shape, values.tobytes())
    return response


def output_of(model: ServedModel, name: str) -> tuple[str, ReadOutput]:
    """An output's datatype, and a function that reads its values, in the wire's byte order, from a classification."""
    if name == class_output(model):
        return "INT64", lambda answer: answer.digits.astype("<i8", copy=False)
    if name == IS_DIGIT:
        return "BOOL", lambda answer: np.asarray(answer.is_digit)
    if name == NOVELTY:
        return "FP32", lambda answer: np.asarray(answer.novelty, "<f4")
    if name == model.layer_names[-1]:
        return "FP32", lambda answer: np.asarray(answer.probabilities, "<f4")
    return "FP32", lambda answer: np.asarray(answer.activations[name], "<f4")


def wanted_outputs(message: pb.ModelInferRequest, model: ServedModel) -> Mapping[str, int]:
    """The wanted outputs, each once, with the number of classes that are wanted in place of its activations."""
    if not message.outputs:
        return dict.fromkeys(default_outputs(model), 0)
    return {output.name: _class_count(output) for output in message.outputs}


def _class_count(output: Wanted) -> int:
    """The number of classes that are wanted in place of the activations; 0: none."""
    return output.parameters["classification"].int64_param if "classification" in output.parameters else 0


def _add(response: pb.ModelInferResponse, name: str, datatype: str, shape: Sequence[int], raw: bytes) -> None:
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    response.raw_output_contents.append(raw)


def _add_classes(response: pb.ModelInferResponse, name: str, answer: Classification, count: int) -> None:
    """Adds each image's most probable classes as ACTIVATION:INDEX:LABEL; among equal ones the lower index is first."""
    best = np.argsort(-answer.probabilities, axis=1, kind="stable")[:, :count]  # (N, count)
    labels = answer.model.metadata.classes
    texts = [
        _class_text(row[index], index, labels[index])
        for row, indices in zip(answer.probabilities, best, strict=True)
        for index in indices
    ]
    _add(response, name, "BYTES", best.shape, b"".join(LENGTH.pack(len(text)) + text for text in texts))


def _class_text(activation: float, index: int, label: str) -> bytes:
    return f"{activation:f}:{index}:{label}".encode()
