"""The memory that it takes to decode an image file, told from its header. It decodes nothing.

A file of 2 KB can declare 50 megapixels. The numbers were measured with Pillow 13.0; a test in
`tests/model/test_large_images.py` compares them with the memory that decoding takes.
"""

from PIL import Image

from vitrine.model.preparation.deep import cut_off

STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
"""Bytes of a pixel in Pillow's modes; in all others it has 4."""

DEEP = {"I;16": 5, "I;16B": 5, "I": 10}
"""Bytes of a pixel that bringing a deep image to 8 bits takes beside that."""

DROPPED = 20
"""Bytes of a pixel that reading the lower 8 of 16 bits of a colour image takes beside that."""

DECODERS = {"WEBP": 12, "TIFF": 4, "BMP": 3, "GIF": 1}
"""Bytes of a pixel that a decoder takes beside the image: canvases, strips of the file, runs of pixels."""

COEFFICIENT_BYTES = 2
"""Bytes of a pixel in each channel of a JPEG with several scans, whose coefficients are all kept until the last."""


def decoding_bytes(image: Image.Image, scans: int = 1, declared: int = 0) -> int:
    """The memory that reading an opened image takes at most, in bytes, beside its file and a few strips.

    Args:
        image: opened and not decoded; a JPEG of the size at which it will be.
        scans: the scans of a JPEG.
        declared: the pixels of a JPEG at its full size.
    """
    stored, kind = STORED.get(image.mode, 4), str(image.format)
    each = stored + DEEP.get(image.mode, 0) + DECODERS.get(kind, 0)
    if cut_off(image):
        each += DROPPED
    kept = declared * len(image.getbands()) * COEFFICIENT_BYTES if scans > 1 else 0
    return image.width * image.height * each + kept
