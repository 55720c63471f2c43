# The server, and the client for its health check; neither compiler nor torch.
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
# The environment has no pip of its own. What only tests and tools of the packages need is left out.
RUN python -m venv --without-pip /opt/vitrine \
 && pip --python /opt/vitrine/bin/python install --no-cache-dir --constraint constraints.txt '.[server,tracing]' \
 && cd /opt/vitrine/lib/python3*/site-packages \
 && rm -rf onnx/backend/test onnx/reference onnxruntime/transformers onnxruntime/quantization onnxruntime/tools \
 && find . -type d -name tests -prune -exec rm -rf {} +

FROM python:3.11-slim
COPY --from=build /opt/vitrine /opt/vitrine
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vitrine
USER 10001
# A container is reached by what `docker run --publish` or its network lets through, never by its own loopback: plaintext
# is allowed inside, so that the choice is made there. VITRINE_TLS_CERT and VITRINE_TLS_KEY turn TLS on all the same, and
# VITRINE_INSECURE=0 refuses to start without them.
# Two allocator arenas: with one for each of gRPC's threads, floods leave half as much again behind (docs/server.md).
ENV PATH=/opt/vitrine/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    VITRINE_HOST=0.0.0.0 \
    VITRINE_INSECURE=1 \
    VITRINE_METRICS_PORT=9464
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD vitrine health --target "127.0.0.1:${VITRINE_PORT:-50051}"
ENTRYPOINT ["vitrine-server"]
