"""Ray Serve with batches, until it is stopped."""

import os
import signal

import ray
from peer_model import PeerModel
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Benchmark:
    """The model."""

    def __init__(self) -> None:
        self._model = PeerModel()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.0)
    async def answer(self, bodies: list[bytes]) -> list[bytes]:
        """Answers a batch: a request's first byte tells whether hidden layers are wanted."""
        return self._model.answers([(body[1:], body[0] == 1) for body in bodies])

    async def __call__(self, request: Request) -> Response:
        """Answers a request."""
        return Response(await self.answer(await request.body()), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(Benchmark.bind(), route_prefix="/classify")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
