"""One image file: its size from the header, its pixels as RGB.

One rule for orientation: the EXIF tag is applied to the size and to the pixels alike, so that gaze
coordinates, sizes and pixels share one frame. ``exif="ignore"`` leaves all of them as stored (but for
TIFF, which Pillow itself turns upright).

Files are what other people made. Only common formats are tried (Pillow would hand PostScript to Ghostscript), only
regular files are opened, and an image that unpacks to more than twice `PIL.Image.MAX_IMAGE_PIXELS` is refused by Pillow
before its pixels are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from gazeeval.data.regular import require_regular
from gazeeval.errors import ImageError

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_size(path: Path, exif: str = "apply") -> tuple[int, int]:
    """(width, height) from the header alone. Raises :class:`ImageError`, also where there is no file."""
    with _opened(path) as image:
        turned = exif == "apply" and _orientation(image) >= 5
        return (image.height, image.width) if turned else image.size


def size_or_none(path: Path, exif: str = "apply") -> tuple[int, int] | None:
    """As :func:`read_size`, but None where the file cannot be decoded."""
    try:
        return read_size(path, exif)
    except ImageError:
        return None


def read_image(path: Path, exif: str = "apply") -> Image.Image:
    """8-bit RGB pixels, upright, first frame. Alpha is dropped, 16-bit grey is divided by 257, CMYK has no profile.

    Raises :class:`ImageError` naming the file if it is missing, broken, or so large that
    Pillow takes it for a decompression bomb.
    """
    with _opened(path) as image:
        upright = _UPRIGHT.get(_orientation(image)) if exif == "apply" else None
        pixels = _rgb(image)
        return pixels if upright is None else pixels.transpose(upright)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # Decoders raise whatever they stumble over (OSError, SyntaxError, struct.error, a bomb error...):
    # all of it means that this file is no usable image.
    try:
        require_regular(path)
        with Image.open(path, formats=FORMATS) as image:
            if image.format == "TIFF" and _orientation(image) != 1:
                image.load()  # turns it upright and clears the tag
            yield image
    except FileNotFoundError as error:
        raise ImageError(f"image: {path}, no such file.") from error
    except Exception as error:
        raise ImageError(f"image: {path}, cannot be decoded: {type(error).__name__}: {error}") from error


def _orientation(image: Image.Image) -> int:
    # For a PNG without a tag in its header, getexif would decode all pixels to look for a late one.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    return int(image.getexif().get(_ORIENTATION_TAG, 1))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, in some Pillow versions as 32-bit integers
        grey = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white; convert the file to 8 or 16 bit")
    if image.mode == "P":  # a palette may hold alpha as bytes, which only RGBA takes quietly
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
