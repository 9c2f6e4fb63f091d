"""From the bytes of an image to pixels: what becomes of each kind (docs/images.md)."""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["Header", "Preprocessing", "decode", "header", "is_image", "to_unit"]

# Of Pillow's formats those of pixels alone: others draw (EPS calls Ghostscript) or hold no image.
_FORMATS = (
    *("JPEG", "MPO", "JPEG2000", "PNG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "PPM"),
    *("ICO", "ICNS", "PCX", "SGI", "QOI", "TGA", "DDS"),
)
# TGA files begin with nothing that tells them.
_UNTOLD = ("TGA",)


class Preprocessing(NamedTuple):
    """What happens to an image, in this order.

    Attributes:
      size: S; the largest centre square is resized to S x S with antialiasing (Lanczos).
      channels: 3 (RGB) or 1 (luminance).
      flip: whether each draw is mirrored left-right with probability 1/2.
    """

    size: int
    channels: int = 3
    flip: bool = False


class Header(NamedTuple):
    """What a file says of its image: width and height as seen (upright), mode, whether it moves."""

    size: tuple[int, int]
    mode: str
    animated: bool


@functools.cache
def _formats(tellable: bool = False) -> tuple[str, ...]:
    from PIL import Image

    Image.init()  # which formats there are depends on Pillow's version and build
    return tuple(f for f in _FORMATS if f in Image.OPEN and not (tellable and f in _UNTOLD))


def is_image(path: Path) -> bool:
    """Whether the first bytes of a file are those of an image that can be read."""
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file, formats=_formats(tellable=True)):
            return True
    except Exception:  # PIL raises many kinds
        return False


def header(image: bytes | np.ndarray) -> Header | None:
    """What is known of an image without decoding its pixels; None if it is none."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        channels = image.shape[2] if image.ndim == 3 else 1
        return Header(
            (image.shape[1], image.shape[0]), {1: "L", 4: "RGBA"}.get(channels, "RGB"), False
        )
    try:
        with Image.open(io.BytesIO(image), formats=_formats()) as picture:
            width, height = picture.size
            # Tag 274: how the camera was held. 5 to 8 are on the side; of TIFFs Pillow knows.
            side = picture.getexif().get(274, 1) in (5, 6, 7, 8)
            if side and picture.format != "TIFF":
                width, height = height, width
            return Header((width, height), picture.mode, getattr(picture, "is_animated", False))
    except Exception:  # PIL raises many kinds
        return None


def decode(image: bytes | np.ndarray, to: Preprocessing) -> np.ndarray:
    """One image, decoded, upright, on white, cropped to its centre square, resized.

    Args:
      image: a file's bytes, or uint8 [h, w] or [h, w, c].
      to: size and channels.

    Returns:
      uint8 [S, S, C].

    Raises:
      ValueError: if the bytes are no image, or a part of one, or their numbers are in no range
        that is known.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(image, np.ndarray):
            pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
            picture = Image.fromarray(pixels)
        else:
            picture = Image.open(io.BytesIO(image), formats=_formats())
            # A JPEG of at least four times the size is reduced while it is decoded (by 2, 4 or 8,
            # to no less than twice the size): half of the time for LSUN at 64 pixels.
            picture.draft(None, (2 * to.size, 2 * to.size))  # pyright: ignore[reportArgumentType]
            picture.load()  # a file that is cut short fails here, and not where it is forgiven
            picture = _upright(picture)
        picture = _on_white(_bytes(picture))
        picture = picture.convert("RGB" if to.channels == 3 else "L")
    except UnidentifiedImageError:  # its text names an address in memory
        raise ValueError("not a readable image: of no format that is known") from None
    except Exception as error:  # PIL raises many kinds on damaged files
        raise ValueError(f"not a readable image: {error}") from error
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    if side != to.size:
        picture = picture.resize((to.size, to.size), Image.Resampling.LANCZOS, box=box)
    elif picture.size != (side, side):
        picture = picture.crop(box)
    return np.asarray(picture, np.uint8).reshape(to.size, to.size, to.channels)


def _upright(picture: Picture) -> Picture:
    """Turned as its EXIF tag says; a damaged tag says nothing."""
    from PIL import ImageOps

    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _bytes(picture: Picture) -> Picture:
    """With pixels of 8 bits a channel.

    The range of 16 bits goes linearly to that of 8. Floats are of [0, 1] or of [0, 255], whichever
    holds them all; 32-bit integers of [0, 255] or of 16 bits.
    """
    from PIL import Image

    if picture.mode.startswith("I;16"):
        return Image.fromarray(_of_16_bits(np.asarray(picture)))
    if picture.mode not in ("I", "F"):
        return picture
    values = np.asarray(picture, np.float64)
    low, high = float(values.min()), float(values.max())
    if picture.mode == "F" and low >= 0 and high <= 1:
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    # A PGM of more than 8 bits comes as integers of the range of 16.
    deep = picture.mode == "I" and (high > 255 or picture.format == "PPM")
    if low >= 0 and high <= 255 and not deep:
        # As Pillow converts them: without the fraction.
        return Image.fromarray(values.astype(np.uint8))
    if deep and low >= 0 and high <= 65535:
        return Image.fromarray(_of_16_bits(values.astype(np.uint16)))
    known = "[0, 1] or [0, 255]" if picture.mode == "F" else "[0, 255] or [0, 65535]"
    what = "floats" if picture.mode == "F" else "integers"
    raise ValueError(f"its pixels are {what} from {low:g} to {high:g}, expected {known}")


def _of_16_bits(values: np.ndarray) -> np.ndarray:
    """uint16 -> uint8, v / 257 rounded: 0 -> 0, 65535 -> 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(picture: Picture) -> Picture:
    """What is transparent shows white; opaque images stay as they are."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    seen = picture.convert("RGBA")
    lowest: Any = seen.getchannel("A").getextrema()[0]
    if lowest == 255:
        return picture
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)


def to_unit(images):
    """Pixels 0..255 as numbers in [-1, 1]; for arrays and tensors of a float dtype."""
    return images / 127.5 - 1.0
