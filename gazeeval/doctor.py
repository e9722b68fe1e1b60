"""What this machine and this installation have: the first thing to look at, and to send, when something does not work.

Nothing is taken for granted: every library is imported inside its own check, so that a broken one is a line of the
report and not its end.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from gazeeval.optional import EXTRAS

Level = Literal["ok", "note", "broken"]

OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_MODULES = {"huggingface-hub": "huggingface_hub", "pillow": "PIL", "pyyaml": "yaml"}
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE")
_APT = "apt-get install libgl1 libglib2.0-0 libxcb1"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what, found: what was looked at and what is there.
        level: "note" is worth knowing, "broken" keeps `gazeeval run` from working.
        advice: what to do about it; empty where nothing is.
    """

    what: str
    found: str
    level: Level = "ok"
    advice: str = ""


def examine() -> list[Finding]:
    """Everything that can be said about this installation, in the order of the report."""
    found = []
    for look in (_python, _libraries, _devices, _opencv, _extras, _bundled, _caches, _machine):
        try:
            found += list(look())
        except Exception as error:  # a doctor does not faint
            found.append(Finding(look.__name__[1:], _said(error), "broken", "Send this report with your question."))
    return found


def _python() -> Iterator[Finding]:
    place = Path(__file__).parent
    yield Finding("gazeeval", f"{metadata.version('gazeeval')}, {place}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("platform", platform.platform())


def _libraries() -> Iterator[Finding]:
    """Everything that the package declares but OpenCV, of which there are several."""
    for requirement in metadata.requires("gazeeval") or ():
        name = re.split(r"[^\w-]", requirement)[0]
        if "extra ==" not in requirement and name not in OPENCV:
            yield _library(name)


def _library(name: str) -> Finding:
    try:
        import_module(_MODULES.get(name, name))
        return Finding(name, metadata.version(name))
    except Exception as error:  # a library that was built for another machine raises anything
        return Finding(
            name, f"cannot be imported: {_said(error)}", "broken", f"Run: pip install --force-reinstall {name}"
        )


def _devices() -> Iterator[Finding]:
    import torch

    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    threads = f"{torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        yield Finding("devices", f"cpu ({threads}); torch is built for {built_for} and sees no GPU")
        return
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    yield Finding("devices", f"cpu ({threads}); torch is built for {built_for}, cuDNN {cudnn}")
    for number in range(torch.cuda.device_count()):
        name = f"cuda:{number}"
        try:
            free, total = torch.cuda.mem_get_info(number)
            torch.ones(2, device=name).sum().item()
            yield Finding(name, f"{torch.cuda.get_device_name(number)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
        except RuntimeError as error:
            yield Finding(name, _said(error), "broken", "Mend the driver, or run with --device cpu.")


def _opencv() -> Iterator[Finding]:
    """`gazeeval run` does without, but for SaliencyMix as released."""
    wheels = [f"{name} {version}" for name in OPENCV if (version := _version(name))]
    if len(wheels) > 1:
        yield Finding(
            "OpenCV wheels",
            ", ".join(wheels),
            "note",
            "They write into one folder, and the last one wins. Uninstall all of them, then install one.",
        )
    try:
        import cv2
    except Exception as error:
        yield Finding(
            "OpenCV",
            f"{', '.join(wheels) or 'no wheel'}; cannot be imported: {_said(error)}",
            "note",
            f"Run: {_APT}; or: pip uninstall -y opencv-python && pip install opencv-python-headless.",
        )
        return
    saliency = "with" if hasattr(cv2, "saliency") else "without"
    yield Finding("OpenCV", f"{cv2.__version__} ({', '.join(wheels) or 'no wheel'}), {saliency} cv2.saliency")


def _extras() -> Iterator[Finding]:
    for library, extra in {**EXTRAS, "mkdocs": "docs"}.items():
        version = _version(library)
        yield Finding(
            f"extra {extra}",
            f"{library} {version}" if version else f"{library} is not installed",
            advice="" if version else f"If you need it: pip install 'gazeeval[{extra}]'",
        )


def _bundled() -> Iterator[Finding]:
    from gazeeval.data.dataset import load_dataset
    from gazeeval.models.model import load_model

    again = "Run: pip install --force-reinstall gazeeval"
    for what, load in (("demo data", load_dataset), ("demo network", partial(load_model, device="cpu"))):
        try:
            yield Finding(what, _described(load("demo")))
        except Exception as error:  # whatever keeps the first run from working
            yield Finding(what, _said(error), "broken", again)


def _described(loaded: Any) -> str:
    return str(loaded.describe()) if hasattr(loaded, "describe") else f"{len(loaded)} images"


def _caches() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from gazeeval.data.parsed import cache_folder

    for what, folder in (("parsed gaze", cache_folder()), ("weights of timm", Path(HF_HUB_CACHE))):
        yield Finding(f"cache of {what}", "off" if folder is None else f"{folder}, {_size(folder) / 1e6:.1f} MB")


def _machine() -> Iterator[Finding]:
    page = os.sysconf("SC_PAGE_SIZE") / 1e9
    total, free = (os.sysconf(name) * page for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    yield Finding("memory", f"{total:.1f} GB, {free:.1f} GB of it unused")
    yield Finding("processor", f"{_cores()} cores for this process, of {os.cpu_count()}")
    names = [name for name in sorted(os.environ) if name.startswith("GAZEEVAL_") or name in _VARIABLES]
    yield Finding("environment", ", ".join(f"{name}={os.environ[name]}" for name in names) or "nothing of ours set")


def _cores() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, links left out: a cache links to what it holds."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
