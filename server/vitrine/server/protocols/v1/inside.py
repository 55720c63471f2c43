"""Translates interventions and explanations between the wire's messages and the service's plain data, both ways.

It checks the errors of the wire alone; the service knows what a layer, a unit or a class is.
"""

import numpy as np

from vitrine.server.errors import InvalidRequest
from vitrine.server.inference.interventions import check_count
from vitrine.server.inference.requests import AttributionMethod, Change, ExplainRequest, Explanation, Interventions
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.v1.convert import read_pixels, write_identity, write_tensor
from vitrine.v1 import classifier_pb2 as pb

METHODS = {pb.ATTRIBUTION_METHOD_UNSPECIFIED: AttributionMethod.CONTRIBUTIONS} | {
    pb.AttributionMethod.Value(f"ATTRIBUTION_METHOD_{method.name}"): method for method in AttributionMethod
}
"""The method for each of the wire's values."""


def read_interventions(message: pb.ClassifyRequest) -> Interventions | None:
    """Reads the interventions of a request; None: it has none.

    Raises:
        InvalidRequest: there are too many, or one of them says no change.
    """
    if not message.interventions:
        return None
    check_count(sum(len(image.interventions) for image in message.interventions))
    return Interventions(
        [
            [_read_change(one, f"interventions[{i}].interventions[{k}]") for k, one in enumerate(image.interventions)]
            for i, image in enumerate(message.interventions)
        ]
    )


def _read_change(message: pb.Intervention, field: str) -> Change:
    units = np.array(message.units, np.int64) if message.units else None
    match message.WhichOneof("change"):
        case "scale":
            return Change(message.layer, units, scale=message.scale)
        case "value":
            return Change(message.layer, units, scale=0.0, shift=message.value)
        case "values":
            return Change(message.layer, units, scale=0.0, shift=np.array(message.values.values, np.float32))
        case _:
            raise InvalidRequest("NO_CHANGE", "an intervention needs a scale, a value, or values", field)


def read_explain(message: pb.ExplainRequest, model: ServedModel) -> ExplainRequest:
    """Reads a request to explain a model's scores.

    Raises:
        InvalidRequest: its pixels are wrong, as for `read_classify`, or its method is unknown.
    """
    if message.method not in METHODS:
        known = ", ".join(pb.AttributionMethod.keys()[1:])
        text = f"no method has the number {message.method}; there are {known}"
        raise InvalidRequest("ATTRIBUTION_UNKNOWN", text, "method")
    form = message.WhichOneof("images")
    return ExplainRequest(
        model,
        pixels=read_pixels(message.pixels, model.metadata.input) if form == "pixels" else None,
        files=message.encoded.files if form == "encoded" else None,
        classes=tuple(message.classes),
        method=METHODS[message.method],
    )


def write_explanation(answer: Explanation) -> pb.ExplainResponse:
    """Writes an explanation."""
    name = answer.model.metadata.input.name
    return pb.ExplainResponse(
        model=write_identity(answer.model),
        classes=answer.classes.tolist(),
        scores=answer.scores.tolist(),
        contributions=write_tensor("contributions", answer.contributions),
        biases=answer.biases.tolist(),
        pixels=None if answer.pixels is None else write_tensor(name, answer.pixels),
    )
