"""Classifies an image without any generated code: the server describes its own services, by reflection.

    pip install grpcio-reflection
    python examples/by_reflection.py examples/eight.png

The server's address is in VITRINE_TARGET. The same way works in every language with gRPC's reflection.
"""

import os
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "vitrine.v1.ClassifierService"


def main() -> None:
    """Prints what the services are, and what the server takes the image for."""
    image = Path(sys.argv[1] if len(sys.argv) > 1 else "examples/eight.png")
    with grpc.insecure_channel(os.environ.get("VITRINE_TARGET") or "localhost:50051") as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        print("services:", ", ".join(sorted(described.get_services())))
        methods = descriptor_pool.DescriptorPool(described).FindServiceByName(SERVICE).methods_by_name
        model = call(channel, methods["GetModel"], {}).model
        answer = call(channel, methods["Classify"], {"encoded": {"files": [image.read_bytes()]}})
    print("label:", model.classes[answer.digits[0]])


def call(channel: grpc.Channel, method: Any, fields: dict[str, Any]) -> Any:
    """Calls a method by its description, with a request of these fields."""
    request, answer = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    path = f"/{method.containing_service.full_name}/{method.name}"
    return channel.unary_unary(path, request.SerializeToString, answer.FromString)(request(**fields), timeout=30)


if __name__ == "__main__":
    main()
