"""Writes a `google.rpc.Status` as gRPC does: a code, a text, and the details in trailing metadata."""

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status


def to_grpc(status: status_pb2.Status) -> grpc.Status:
    """The same status for `context.abort`."""
    written: grpc.Status = rpc_status.to_status(status)
    return written
