"""The networks that come with the demo data, by the names that ``--model`` takes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

DEMO_MODELS = {"demo": "cnn.safetensors", "demo-vit": "vit.safetensors"}
"""Name -> file in the folder of the demo data: a small ResNet, and a transformer for what needs attention."""


def demo_checkpoint(name: str = "demo") -> Path:
    """The file of the network that is known by ``name``."""
    return Path(str(files("gazeeval.data_specs"))) / "demo" / DEMO_MODELS[name]
