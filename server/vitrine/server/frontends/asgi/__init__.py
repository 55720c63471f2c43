"""An ASGI application around the protocols: gRPC, gRPC-Web and Connect on one port. A host speaks HTTP for it."""
