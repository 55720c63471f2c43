"""What a server says that its models have done. A call counts when its answer has left, so that counts may lag."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from oip.conftest import Repository
from oip.wire import blank, pixels_input, request
from support.publishing import publish
from support.serving import comes, running_server

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub


def test_statistics_are_each_versions_own(repository: Repository) -> None:
    publish(repository.root, "digits", 2)
    repository.load("digits")
    message = blank(model_version="1")
    message.model_name = "digits"
    repository.call("ModelInfer", message)

    def counts(**fields: str) -> dict[str, int]:
        statistics = repository.call("ModelStatistics", pb.ModelStatisticsRequest(**fields)).model_stats
        return {f"{model.name}@{model.version}": model.inference_count for model in statistics}

    assert comes(counts, {"digits@2": 0, "digits@1": 1}) == {"digits@2": 0, "digits@1": 1}
    assert counts(name="digits") == {"digits@2": 0, "digits@1": 1}
    assert counts(name="digits", version="1") == {"digits@1": 1}


@pytest.fixture(scope="module")
def quiet(tiny_artifact: Path) -> Iterator[GRPCInferenceServiceStub]:
    """A server that nobody else calls, so that what it has counted is known."""
    with running_server(tiny_artifact) as server, grpc.insecure_channel(server.target) as own:
        yield GRPCInferenceServiceStub(own)


def test_images_that_share_a_run_are_one_execution(quiet: GRPCInferenceServiceStub) -> None:
    asked = pb.ModelStatisticsRequest(name="tiny")

    def counts() -> tuple[int, int]:
        (model,) = quiet.ModelStatistics(asked).model_stats
        return model.inference_count, model.execution_count

    images, runs = counts()
    quiet.ModelInfer(request(pixels_input(shape=(100, 18, 18)), bytes(100 * 324)))
    assert comes(counts, (images + 100, runs + 1)) == (images + 100, runs + 1)


def test_a_request_that_fails_in_a_stream_counts_as_failed(quiet: GRPCInferenceServiceStub) -> None:
    asked = pb.ModelStatisticsRequest(name="tiny")

    def failures() -> int:
        return quiet.ModelStatistics(asked).model_stats[0].inference_stats.fail.count

    before = failures()
    (answer,) = quiet.ModelStreamInfer(iter([request(pixels_input("BYTES", (1,), bytes_contents=[b"P"]))]))
    assert answer.error_message
    assert comes(failures, before + 1) == before + 1
