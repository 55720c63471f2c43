# The server behind Envoy, and the client for its health check; no compiler, no PyTorch.
FROM python:3.11-slim AS build
WORKDIR /source
# `envoy` is the default front end's, and `http` the one of VITRINE_HTTP_PORT beside VITRINE_FRONTEND=grpc.
ARG EXTRAS="server tracing envoy http"
# The dependencies first: a change of the source leaves their layer in the cache.
COPY pyproject.toml constraints.txt ./
# The environment gets no pip of its own. Parts of packages that only tests and tools use are removed.
RUN python -m venv --without-pip /opt/vitrine \
 && python -c 'import sys, tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = [line for name in sys.argv[1:] for line in project["optional-dependencies"][name]]; \
print(*project["dependencies"], *extras, sep="\n")' $EXTRAS > requirements.txt \
 && pip --python /opt/vitrine/bin/python install --no-cache-dir --constraint constraints.txt --requirement requirements.txt \
 && cd /opt/vitrine/lib/python3*/site-packages \
 && rm -rf onnx/backend/test onnx/reference onnxruntime/transformers onnxruntime/quantization onnxruntime/tools \
 && find . -type d -name tests -prune -exec rm -rf {} +
COPY . .
RUN pip --python /opt/vitrine/bin/python install --no-cache-dir --no-deps .

FROM python:3.11-slim
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="vitrine-server" \
      org.opencontainers.image.description="A digit classifier you can look inside: a gRPC server for predictions and activations" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim"
COPY --from=build /opt/vitrine /opt/vitrine
COPY LICENSE NOTICE /usr/share/doc/vitrine/
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vitrine
USER 10001
# VITRINE_INSECURE=1 allows plaintext: the network outside decides who reaches a container (`docker run --publish`).
# VITRINE_TLS_CERT and VITRINE_TLS_KEY still turn TLS on; VITRINE_INSECURE=0 makes the server refuse to start without.
# VITRINE_FRONTEND=envoy: gRPC, gRPC-Web and Connect on one port; VITRINE_FRONTEND=grpc is gRPC's own server.
# MALLOC_ARENA_MAX=2: with one arena for each of gRPC's threads, the process keeps half as much memory again after a
# flood of calls (docs/operations.md, "Memory").
ENV PATH=/opt/vitrine/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    VITRINE_FRONTEND=envoy \
    VITRINE_HOST=0.0.0.0 \
    VITRINE_INSECURE=1 \
    VITRINE_METRICS_PORT=9464
EXPOSE 50051 8080 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD vitrine health --target "127.0.0.1:${VITRINE_PORT:-50051}"
ENTRYPOINT ["vitrine-server"]
