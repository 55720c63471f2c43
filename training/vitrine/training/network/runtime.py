"""ONNX Runtime with its telemetry off: the one place of this room that imports it.

From 1.29 on, ONNX Runtime's wheels report to their maker as soon as they are loaded, and keep an id of the machine on
disk; only this variable, set before, prevents that. Training is nobody else's business.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
