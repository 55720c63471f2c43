"""gRPC around the service: decode, call, encode. Protobuf stays in here."""
