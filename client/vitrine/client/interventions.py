"""Interventions: changes of activations while a model runs, as plain values that requests carry.

They are made with `zero`, `scale` and `set_units`. Nothing of them is run here: the server applies them, in their
order, and the layers behind calculate with the changed numbers.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.client.errors import UsageError

Units: TypeAlias = Iterable[int] | int | None
"""Positions in a layer's activations, row by row, from 0: several, one, or None for all."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """A change of some units' activations. Make it with `zero`, `scale` or `set_units`."""

    layer: str
    """Name of the layer: the input, a hidden layer or the last linear one. No layer reads the output layer."""
    units: tuple[int, ...]
    """The units by position; empty: all of the layer."""
    factor: float | None = None
    """The factor of their activations; None: they are set."""
    values: tuple[float, ...] = ()
    """The values in their place: one for all, or one for each; empty: they are scaled."""


def zero(layer: str, units: Units = None) -> Intervention:
    """Silences units: their activations become 0.

    Args:
        layer: name of a layer, as in `client.model().layers`.
        units: positions in its activations, from 0; None: all.

    Raises:
        UsageError: these are no units.
    """
    return scale(layer, 0.0, units)


def scale(layer: str, factor: float, units: Units = None) -> Intervention:
    """Multiplies the activations of units by a factor, −1e6 to 1e6.

    Args:
        layer: name of a layer, as in `client.model().layers`.
        factor: any finite number; 0.5 halves, 0 silences, −1 turns the sign.
        units: positions in its activations, from 0; None: all.

    Raises:
        UsageError: these are no units, or the factor isn't a finite number.
    """
    return Intervention(_layer(layer), _units(units), factor=_number(factor))


def set_units(layer: str, values: "Mapping[int, float] | npt.ArrayLike | float", units: Units = None) -> Intervention:
    """Puts values in the place of units' activations.

    With another image's activations as the values, this is activation patching:
    `set_units("relu_1", other.activations["relu_1"])`.

    Args:
        layer: name of a layer, as in `client.model().layers`.
        values: the value of each unit by position, `{3: 1.2}`; or one value for all `units`; or an array with a value
            for each, of any shape. Each is finite, −1e6 to 1e6.
        units: positions in the layer's activations, from 0; None: all of the layer. Not beside a mapping, which has
            them.

    Raises:
        UsageError: these are no units, a value isn't a finite number, or their numbers differ.
    """
    if isinstance(values, Mapping):
        if units is not None:
            raise UsageError("set_units takes units either as the keys of its values or as units=, not both")
        if not values:
            raise UsageError("set_units needs at least one unit, such as {3: 1.2}")
        return Intervention(_layer(layer), _units(values), values=tuple(map(_number, values.values())))
    named = _units(units)
    try:
        array: npt.NDArray[Any] = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise UsageError(f"values of units are numbers, not {values!r:.60}") from error
    if array.size != 1 and named and array.size != len(named):
        raise UsageError(f"{array.size} values came for {len(named)} units: give one for all of them, or one for each")
    return Intervention(_layer(layer), named, values=tuple(map(_number, array.tolist())))


def check_interventions(interventions: Iterable[Intervention]) -> tuple[Intervention, ...]:
    """The interventions of a call as a tuple, which can be a key.

    Raises:
        UsageError: one of them is something else.
    """
    if isinstance(interventions, Intervention):
        raise UsageError("interventions are a list of them: write interventions=[zero(…)]")
    taken = tuple(interventions)
    for one in taken:
        if not isinstance(one, Intervention):
            raise UsageError(f"interventions are made by zero, scale and set_units, not {one!r:.60}")
    return taken


def _layer(name: object) -> str:
    if not isinstance(name, str):
        raise UsageError(f"an intervention takes the name of a layer, such as 'relu_1', not {name!r:.60}")
    return name


def _units(units: Units) -> tuple[int, ...]:
    if units is None:
        return ()
    listed = (units,) if isinstance(units, int | np.integer) else tuple(units)
    for unit in listed:
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer) or not 0 <= unit < 2**31:
            raise UsageError(f"units are positions from 0, not {unit!r:.60}")
    if not listed:
        raise UsageError("an intervention on no unit changes nothing: name some, or leave units out for all")
    return tuple(map(int, listed))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise UsageError(f"factors and values are numbers, not {value!r:.60}")
    if not math.isfinite(value):
        raise UsageError(f"factors and values are finite numbers, not {value!r}")
    return float(value)
