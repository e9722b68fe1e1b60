"""How far a device is from the CPU: every signal, and the rows of every method, on the demo data.

    python -m benchmarks.devices [--device cuda] [--pairs 64] [--store docs/performance.md]

Both sides run with ``--deterministic``. ``--store`` puts the tables into the page, between its lines ``<!-- begin
devices -->`` and ``<!-- end devices -->``. On a device that is the CPU itself all differences are 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pandas as pd
import torch

import gazeeval as ge
from benchmarks.page import machine, markdown, store
from gazeeval.errors import UsageError
from gazeeval.gaze_agreement.evaluate import MAPS, usable
from gazeeval.mixers.base import MIXERS
from gazeeval.models.device import deterministic
from gazeeval.signals.networks import Networks

NETWORKS = ("demo", "demo-vit")
_MASK = ("box_x0", "box_y0", "box_x1", "box_y1", "src_x0", "src_y0", "mask_share")


@dataclass(frozen=True)
class Apart:
    """Rows of one method on two devices: largest differences, and how many pairs have another mask (by more than 1e-3).

    ``unlike`` counts rows that differ in their text: status, mask kind, images.
    """

    method: str
    pairs: int
    lam: float
    lam_gaze: float
    probability: float
    masks: int
    unlike: int

    @classmethod
    def of(cls, method: str, one: pd.DataFrame, other: pd.DataFrame) -> Apart:
        """From rows of the same pairs, ascending."""
        words = ["source_id", "target_id", "status", "mask_kind"]
        lam, lam_gaze, probability = (float(_apart(one, other, name).max()) for name in ("lam", "lam_gaze", "p_source"))
        masks = pd.concat([_apart(one, other, name) > 1e-3 for name in _MASK], axis=1).any(axis=1).sum()
        unlike = (one[words].fillna("") != other[words].fillna("")).any(axis=1).sum()
        return cls(method, len(one), lam, lam_gaze, probability, int(masks), int(unlike))


def _apart(one: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.Series:
    return (one[name].astype(float).fillna(-1) - other[name].astype(float).fillna(-1)).abs()


def signals(device: str) -> dict[str, float]:
    """Signal and network -> largest difference on eight pictures of noise, in units of the largest value."""
    found = {}
    for network in NETWORKS:
        there, here = (Networks(ge.load_model(network, device=place)) for place in (device, "cpu"))
        assert here.classifier is not None
        size = here.classifier.geometry.height, here.classifier.geometry.width
        images = torch.rand(8, 3, *size, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(8) % here.classifier.num_classes
        requests = set(usable(MAPS, here)[0].values())
        with deterministic():
            expected = here.answer(requests, images, labels)
            answers = there.answer(requests, images.to(device), labels.to(device))
        for request in sorted(requests, key=repr):
            scale = expected[request].abs().max().clamp(min=1e-12)
            difference = (answers[request].cpu() - expected[request]).abs().max() / scale
            found[f"{request!r}, {network}" if request.needs_model else repr(request)] = float(difference)
    return found


def methods(device: str, pairs: int, names: Iterable[str] = MIXERS) -> list[Apart]:
    """Every method on the first of the demo networks that can serve it."""
    found = []
    for name in names:
        for network in NETWORKS:
            try:
                there, here = (_rows(name, network, place, pairs) for place in (device, "cpu"))
            except UsageError:  # needs a checkpoint of its own, or another kind of network
                continue
            found.append(Apart.of(name, here, there))
            break
    return found


def _rows(method: str, network: str, device: str, pairs: int) -> pd.DataFrame:
    options = {"num_pairs": pairs, "references": False, "device": device, "deterministic": True}
    return ge.evaluate(method, model=ge.load_model(network, device=device), **options).pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--store", type=Path, metavar="PAGE")
    options = parser.parse_args()
    rows = [[name, f"{difference:.1e}"] for name, difference in signals(options.device).items()]
    text = f"{machine(options.device)}.\n\n{markdown(['signal', 'largest difference / largest value'], rows)}\n\n"
    numbers = attrgetter("lam", "lam_gaze", "probability")
    header = ["method", "pairs", "lam", "lam_gaze", "p_source", "other masks", "other words"]
    cells = [
        [each.method, str(each.pairs), *map("{:.1e}".format, numbers(each)), str(each.masks), str(each.unlike)]
        for each in methods(options.device, options.pairs)
    ]
    text += markdown(header, cells)
    print(text)
    if options.store:
        store(options.store, "devices", text)


if __name__ == "__main__":
    main()
