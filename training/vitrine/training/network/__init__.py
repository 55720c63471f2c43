"""The network: its layers, losses, evaluation, calibration and export to ONNX."""
