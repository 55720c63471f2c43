"""Checks artifacts and runs them with ONNX Runtime. It knows no gRPC, no requests and no limits."""
