"""MLServer's custom runtime."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from peer_model import LAYERS, PeerModel


class OnnxRuntime(MLModel):
    """The model."""

    async def load(self) -> bool:
        """Loads it."""
        self._model = PeerModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers a request."""
        asked = {output.name for output in payload.outputs or ()}
        layers = tuple(layer for layer in LAYERS if layer in asked) or LAYERS[-1:]
        values = self._model.run(NumpyCodec.decode_input(payload.inputs[0]), layers)
        outputs = [NumpyCodec.encode_output(layer, own) for layer, own in zip(layers, values, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
