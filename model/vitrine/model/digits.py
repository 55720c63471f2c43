"""The shape and the classes of the digits: defaults for training on digits and for tests.

A served model says its own shape and classes in its metadata; code that serves or shows a model reads them there.
"""

PIXELS_SHAPE = (18, 18)
"""Height and width of a digit's pixels."""

DIGITS = tuple("0123456789")
"""The classes of a digit model, in the order of the output layer's activations: a class's position is its digit."""
