"""The Open Inference Protocol: what Triton's and KServe's clients speak, translated into the same calls as ours."""
