"""The version of this package, and those of what it computes with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__version__ = version("gazeeval")

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "pillow", "opencv-python")


def software() -> dict[str, str]:
    """Name -> version, for the manifest."""
    found = {"gazeeval": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # another OpenCV wheel, say
            found[package] = "not installed"
    return found
