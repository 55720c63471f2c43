"""ONNX's messages, without the rest of its library, whose import takes as long as ONNX Runtime's.

They are one generated module that needs nothing of its package. It is loaded under its own name, so that whoever
imports the package later finds it.
"""

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

MODULE = "onnx.onnx_ml_pb2"
"""The generated module."""


def _load() -> ModuleType:
    package = find_spec("onnx")
    spec = PathFinder.find_spec(MODULE, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None or "onnx" in sys.modules:
        return importlib.import_module(MODULE)
    module = sys.modules[MODULE] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
else:
    _module = _load()
    AttributeProto, GraphProto, ModelProto = _module.AttributeProto, _module.GraphProto, _module.ModelProto
    NodeProto, TensorProto, ValueInfoProto = _module.NodeProto, _module.TensorProto, _module.ValueInfoProto

__all__ = ["AttributeProto", "GraphProto", "ModelProto", "NodeProto", "TensorProto", "ValueInfoProto"]
