"""Requests that nobody meant: whatever comes is read or refused, with a field and a short sentence."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitrine.oip import inference_pb2 as pb
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import RequestError, Unsupported
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.oip.inputs import read_input
from vitrine.server.protocols.oip.outputs import read_outputs
from vitrine.server.protocols.oip.parameters import check_parameters

EXAMPLES = settings(
    max_examples=500,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LONGEST_TEXT = 500
"""Of a refusal: it travels in headers, which are small."""

NUMBERS = st.lists(st.integers(0, 300), max_size=5) | st.just([0] * 324)
PARAMETERS = st.builds(pb.InferParameter, int64_param=st.integers(-2, 20)) | st.builds(
    pb.InferParameter, string_param=st.text(max_size=5)
)
CONTENTS = st.builds(
    pb.InferTensorContents,
    uint_contents=NUMBERS,
    fp32_contents=st.just([]) | st.lists(st.floats(width=32), min_size=324, max_size=324),
    bytes_contents=st.lists(st.binary(max_size=9), max_size=3),
)
INPUTS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.just("pixels") | st.text(max_size=200),
    datatype=st.sampled_from(("UINT8", "FP32", "BYTES")) | st.text(max_size=200),
    shape=st.sampled_from(([1, 18, 18], [1, 324], [1], [2, 1]))
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=99),
    parameters=st.dictionaries(st.text(max_size=5), PARAMETERS, max_size=2),
    contents=st.none() | CONTENTS,
)
OUTPUTS = st.builds(
    pb.ModelInferRequest.InferRequestedOutputTensor,
    name=st.sampled_from(("digit", "softmax", "relu_1")) | st.text(max_size=200),
    parameters=st.dictionaries(st.just("classification") | st.text(max_size=5), PARAMETERS, max_size=2),
)
RAW = st.lists(
    st.sampled_from((bytes(324), bytes(324 * 4), b"\xff" * 324 * 4, b"\x01\x00\x00\x00P")) | st.binary(max_size=50),
    max_size=2,
)
REQUESTS = st.builds(
    pb.ModelInferRequest,
    parameters=st.dictionaries(st.sampled_from(("triton_", "priority")) | st.text(max_size=5), PARAMETERS, max_size=2),
    inputs=st.lists(INPUTS, min_size=1, max_size=1) | st.lists(INPUTS, max_size=3),
    outputs=st.lists(OUTPUTS, max_size=3),
    raw_input_contents=RAW,
)


@cache
def loaded(path: Path) -> ServedModel:
    return load_artifact(path, Device.CPU)


def read(message: pb.ModelInferRequest, model: ServedModel) -> Any:
    check_parameters(message)
    return read_input(message, model, 1024), read_outputs(message, model)


def read_or_refused(message: pb.ModelInferRequest, model: ServedModel) -> Any:
    """What is read, or the refusal. Anything else that is raised fails the test."""
    try:
        return read(message, model)
    except RequestError as error:
        return error


@EXAMPLES
@given(message=REQUESTS)
def test_any_request_is_read_or_refused(tiny_artifact: Path, message: pb.ModelInferRequest) -> None:
    outcome = read_or_refused(message, loaded(tiny_artifact))
    if isinstance(outcome, RequestError):
        assert outcome.field or isinstance(outcome, Unsupported)
        assert len(str(outcome)) < LONGEST_TEXT
    else:
        elements, wanted = outcome
        assert not isinstance(elements, np.ndarray) or elements.dtype == np.uint8
        assert set(wanted.names) <= {"relu_1"}


@pytest.mark.parametrize("count", [1, 3])
def test_a_good_request_is_among_them(tiny_artifact: Path, count: int) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[count, 324])
    message = pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[bytes(count * 324)])
    assert read(message, loaded(tiny_artifact))[0].shape == (count, 18, 18)
