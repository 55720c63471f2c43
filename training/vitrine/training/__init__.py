"""Makes the artifact: data sets, the MLP, fitting, evaluation, and the export to ONNX. It knows no server or client."""
