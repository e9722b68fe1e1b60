"""gazeeval: how far the labels of mixed training images are from where people actually look.

    import gazeeval as ge

    runs = ge.evaluate(["cutmix", "saliencymix"], model="ckpt.pt", data="cub-gha", root="data", num_pairs=2000)
    runs.summary

Names are imported when they are first used, so that the command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gazeeval.api import compare as compare
    from gazeeval.api import mix as mix
    from gazeeval.data.dataset import Dataset as Dataset
    from gazeeval.data.dataset import load_dataset as load_dataset
    from gazeeval.data.density import GazeRecipe as GazeRecipe
    from gazeeval.data.density import gaze_density as gaze_density
    from gazeeval.errors import GazeEvalError as GazeEvalError
    from gazeeval.gaze_agreement.run import agreement as agreement
    from gazeeval.metrics.base import Metric as Metric
    from gazeeval.metrics.base import register_metric as register_metric
    from gazeeval.metrics.inconsistency import gaze_shares as gaze_shares
    from gazeeval.metrics.inconsistency import group_inconsistency as group_inconsistency
    from gazeeval.metrics.inconsistency import lam_gaze as lam_gaze
    from gazeeval.mixers.base import Draws as Draws
    from gazeeval.mixers.base import FeatureMixer as FeatureMixer
    from gazeeval.mixers.base import GroupMixer as GroupMixer
    from gazeeval.mixers.base import Mixer as Mixer
    from gazeeval.mixers.base import register_mixer as register_mixer
    from gazeeval.models.model import Model as Model
    from gazeeval.models.model import load_model as load_model
    from gazeeval.report.files import Results as Results
    from gazeeval.report.files import read_results as read_results
    from gazeeval.robustness.ceiling import ceiling as ceiling
    from gazeeval.robustness.sensitivity import sensitivity as sensitivity
    from gazeeval.run import evaluate as evaluate
    from gazeeval.signals.base import BottomUp as BottomUp
    from gazeeval.signals.base import CentrePrior as CentrePrior
    from gazeeval.signals.base import ClassAttention as ClassAttention
    from gazeeval.signals.base import ClassEvidence as ClassEvidence
    from gazeeval.signals.base import ClassMap as ClassMap
    from gazeeval.signals.base import FeatureMean as FeatureMean
    from gazeeval.signals.base import Features as Features
    from gazeeval.signals.base import GazeDensity as GazeDensity
    from gazeeval.signals.base import InputGradient as InputGradient
    from gazeeval.signals.base import Logits as Logits
    from gazeeval.signals.base import Saliency as Saliency
    from gazeeval.signals.base import Signal as Signal
    from gazeeval.signals.base import Signals as Signals
    from gazeeval.signals.base import TopDown as TopDown
    from gazeeval.statistics.breakdown import breakdown as breakdown
    from gazeeval.training import MixTransform as MixTransform
    from gazeeval.training import soft_targets as soft_targets
    from gazeeval.types import GroupPlacement as GroupPlacement
    from gazeeval.types import Labels as Labels
    from gazeeval.types import Mix as Mix
    from gazeeval.types import PairBatch as PairBatch
    from gazeeval.types import Placement as Placement
    from gazeeval.version import __version__ as __version__

_HOMES = {
    "api": ("compare", "mix"),
    "data.dataset": ("Dataset", "load_dataset"),
    "data.density": ("GazeRecipe", "gaze_density"),
    "errors": ("GazeEvalError",),
    "gaze_agreement.run": ("agreement",),
    "metrics.base": ("Metric", "register_metric"),
    "metrics.inconsistency": ("gaze_shares", "group_inconsistency", "lam_gaze"),
    "mixers.base": ("Draws", "FeatureMixer", "GroupMixer", "Mixer", "register_mixer"),
    "models.model": ("Model", "load_model"),
    "report.files": ("Results", "read_results"),
    "robustness.ceiling": ("ceiling",),
    "robustness.sensitivity": ("sensitivity",),
    "run": ("evaluate",),
    "signals.base": (
        "BottomUp",
        "CentrePrior",
        "ClassAttention",
        "ClassEvidence",
        "ClassMap",
        "FeatureMean",
        "Features",
        "GazeDensity",
        "InputGradient",
        "Logits",
        "Saliency",
        "Signal",
        "Signals",
        "TopDown",
    ),
    "statistics.breakdown": ("breakdown",),
    "training": ("MixTransform", "soft_targets"),
    "types": ("GroupPlacement", "Labels", "Mix", "PairBatch", "Placement"),
    "version": ("__version__",),
}
_HOME = {name: f"gazeeval.{module}" for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "testing":
        return importlib.import_module("gazeeval.testing")
    raise AttributeError(f"module 'gazeeval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "testing"]
