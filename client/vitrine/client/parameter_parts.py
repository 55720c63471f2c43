"""Puts a layer's parameters together that are too large for one answer. It knows messages, and sends none."""

import numpy as np

from vitrine.client.errors import AnswerError
from vitrine.client.types import Parameters
from vitrine.client.wire import read_parameters
from vitrine.v1 import classifier_pb2 as pb

MOST_BEGINNINGS = 5
"""Times that a layer is begun: a replaced model begins it anew once, servers of two models would do so forever."""


class ParameterParts:
    """The rows of a layer's parameters as they come in, answer by answer.

    Args:
        layer: the layer's name.
        model: the model's name, as a request has it.
        max_bytes: the largest answer that the client takes.
    """

    def __init__(self, layer: str, model: str, max_bytes: int) -> None:
        self._layer = layer
        self._model = model
        self._max_bytes = max_bytes
        self._digest = ""
        self._whole: Parameters | None = None
        self._rows = 0
        self._beginnings = 1

    @property
    def request(self) -> pb.GetParametersRequest:
        """The request for the next rows."""
        return pb.GetParametersRequest(
            model=self._model, layer=self._layer, first_row=self._rows, max_bytes=self._max_bytes
        )

    def add(self, answer: pb.GetParametersResponse) -> Parameters | None:
        """Takes the answer to `request`; gives the parameters once all rows are there.

        A model that has been replaced since the last answer is begun again: rows of two models make none.

        Raises:
            AnswerError: the answer can't be read, or isn't the one to the request; or the model changes all the time.
        """
        part = read_parameters(answer, self._layer)
        if self._whole is not None and answer.model.digest != self._digest:
            self._begin_again()
            return None
        if self._whole is None:
            if answer.row_count in (0, len(part.bias)):  # 0: an older server, which sends all rows
                return part
            self._whole = self._room(answer.row_count, part)
            self._digest = answer.model.digest
        return self._put(part, self._whole)

    def _begin_again(self) -> None:
        """Forgets the rows that are there."""
        if self._beginnings == MOST_BEGINNINGS:
            raise AnswerError(
                f"the parts of {self._layer!r} came from different models, {MOST_BEGINNINGS} times over: ask again "
                "when all servers have the same model, or name its version, as in model='NAME@VERSION'"
            )
        self._beginnings += 1
        self._whole, self._rows = None, 0

    def _room(self, row_count: int, part: Parameters) -> Parameters:
        """Room for all rows, of which this part is the first."""
        if row_count < len(part.bias):
            raise AnswerError(f"the server sent {len(part.bias)} rows of {self._layer!r}, of {row_count}")
        try:
            weight = np.empty((row_count, part.weight.shape[1]), np.float32)
        except (MemoryError, ValueError) as error:
            raise AnswerError(f"there is no memory for {row_count} rows of {self._layer!r}") from error
        return Parameters(self._layer, weight, np.empty(row_count, np.float32), part.model)

    def _put(self, part: Parameters, whole: Parameters) -> Parameters | None:
        """Puts rows behind those that are there."""
        begin, end = self._rows, self._rows + len(part.bias)
        if begin == end or end > len(whole.bias) or part.weight.shape[1] != whole.weight.shape[1]:
            raise AnswerError(f"the server sent {part.weight.shape} of {self._layer!r}, from row {begin} on")
        whole.weight[begin:end], whole.bias[begin:end] = part.weight, part.bias
        self._rows = end
        if end < len(whole.bias):
            return None
        whole.weight.flags.writeable = whole.bias.flags.writeable = False
        return whole
