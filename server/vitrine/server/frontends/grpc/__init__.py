"""grpc.aio around the protocols: credentials, the gate, handlers, status codes."""
