"""KServe's own client, unchanged, in a process of its own."""

import numpy as np
import pytest
from oip.conftest import Report


def test_the_server_and_the_model_are_ready(kserve: Report) -> None:
    said = kserve.said
    assert (said["live"], said["ready"], said["model ready"]) == (True, True, True)
    assert said["other model ready"] is False


def test_an_answer_has_the_digit_and_the_output_layer(kserve: Report) -> None:
    answer = kserve.said["answered"]["plain"]
    assert (answer["model"], answer["id"]) == ("tiny", "seven")
    assert answer["outputs"] == [["digit", "INT64", [16]], ["softmax", "FP32", [16, 10]]]
    found = kserve.of("plain")
    np.testing.assert_array_equal(found["digit"], found["softmax"].argmax(axis=1))


@pytest.mark.parametrize("form", ["typed", "floats", "typed floats"])
def test_every_form_of_the_pixels_is_the_same(kserve: Report, form: str) -> None:
    assert list(kserve.of("pixels")) == ["softmax", "relu_2", "input"]
    for name, values in kserve.of("pixels").items():
        np.testing.assert_array_equal(kserve.of(form)[name], values)


def test_files_raw_and_typed_are_the_same(kserve: Report) -> None:
    assert kserve.said["answered"]["files"]["outputs"][1] == ["relu_2", "FP32", [1, 16]]
    for name, values in kserve.of("files").items():
        np.testing.assert_array_equal(kserve.of("typed files")[name], values)


def test_what_is_wrong_is_said(kserve: Report) -> None:
    code, text = kserve.said["failures"]["model"]
    assert code == "StatusCode.NOT_FOUND"
    assert text.startswith("Request for unknown model")
    code, text = kserve.said["failures"]["shape"]
    assert code == "StatusCode.INVALID_ARGUMENT"
    assert text.endswith("Expected [-1,18,18] or [-1,324], got [18,18]")
