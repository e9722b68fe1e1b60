"""A mixer of your own: a round patch around the most salient pixel of the source, labelled by its area.

From the command line: gazeeval run -m ./examples/own_mixer.py:DiscMix:largest=0.3
"""

from dataclasses import dataclass

import torch

import gazeeval as ge

SALIENCY = ge.Saliency("spectral_residual")


@dataclass(frozen=True)
class DiscDraws(ge.Draws):
    """``lam`` (b,) float64, share of the pixels that a disc away from the border takes."""

    lam: torch.Tensor


@dataclass(frozen=True)
class DiscMix(ge.Mixer):
    """A disc of the source replaces the same pixels of the target; its area is uniform up to ``largest``."""

    largest: float = 0.5

    def needs(self):
        return {SALIENCY}

    def draw(self, rng, size):
        return DiscDraws(self.largest * torch.from_numpy(rng.uniform("lam")))

    def place(self, pairs, signals, draws):
        h, w = pairs.size
        peak = signals.source(SALIENCY).flatten(1).argmax(dim=1)
        row, col = (axis.to(peak) for axis in (torch.arange(h), torch.arange(w)))
        dy = (row - (peak // w)[:, None])[:, :, None]
        dx = (col - (peak % w)[:, None])[:, None, :]
        radius2 = draws.lam * h * w / torch.pi
        return ge.Placement.from_mask((dy**2 + dx**2 < radius2[:, None, None]).float(), "binary")


if __name__ == "__main__":
    ge.testing.check_mixer(DiscMix())
    runs = ge.evaluate([DiscMix(), DiscMix(largest=0.3), "saliencymix", "cutmix"], num_pairs=40)
    print(runs.pairs.groupby("method", sort=False)[["lam", "lam_gaze", "inconsistency"]].mean().round(3))
