"""NVIDIA's Triton: the real `tritonserver` of the package `nvidia-pytriton`, with its Python backend.

PyPI has no Triton with the ONNX Runtime backend. The Python backend calls the same ONNX Runtime in a process of its
own, which gets tensors by shared memory; Triton's dynamic batching is on.
"""

import shutil
import sysconfig

from benchmarks.peers.peer import PROGRAMS, Peer, Place, Start

CONFIG = """
backend: "python"
max_batch_size: 256
input [{name: "pixels" data_type: TYPE_UINT8 dims: [18, 18]}]
output [
  {name: "relu_1" data_type: TYPE_FP32 dims: [512]},
  {name: "relu_2" data_type: TYPE_FP32 dims: [256]},
  {name: "softmax" data_type: TYPE_FP32 dims: [10]}
]
dynamic_batching {}
instance_group [{count: 1 kind: KIND_CPU}]
"""


def start(place: Place) -> Start:
    """Writes its model repository; the backend's stub is the one of this Python's version."""
    triton = place.packages / "pytriton" / "tritonserver"
    version = place.packages.parent.name.removeprefix("python")
    shutil.copy2(
        triton / "python_backend_stubs" / version / "triton_python_backend_stub", triton / "backends" / "python"
    )
    model = place.folder / "benchmark"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    shutil.copy(PROGRAMS / "triton_model.py", model / "1" / "model.py")
    libraries = (place.packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR"))
    return Start(
        [
            triton / "bin" / "tritonserver",
            f"--model-repository={place.folder}",
            f"--backend-directory={triton / 'backends'}",
            *("--grpc-address=127.0.0.1", f"--grpc-port={place.port}"),
            *("--http-address=127.0.0.1", f"--http-port={place.port + 1}", "--allow-metrics=false"),
        ],
        {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "PEER_PATH": f"{PROGRAMS}:{place.packages}"},
    )


PEER = Peer(
    "triton", "Triton", ("nvidia-pytriton==0.7.0", "onnxruntime==1.32.0"), start, "oip", "nvidia-pytriton",
    "the server of the package nvidia-pytriton, Python backend, dynamic batching",
)  # fmt: skip
