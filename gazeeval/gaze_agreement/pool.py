"""The fixations of other images: the negatives of shuffled AUC."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from gazeeval.gaze_agreement.scores import FixatedPixels

Index = NDArray[np.int64]


class FixationPool:
    """All fixations of a data set at the size of the network input, as how often each pixel was fixated.

    So shuffled AUC takes every fixation of the other images, not a draw of them, at the price of one histogram.

    Args:
        pixels: of images (n,) in the order of the data set, in as many parts as suits.
        owner: (n,) number of what each image is left out with: its own row, or its class.
    """

    def __init__(self, pixels: list[FixatedPixels], owner: Index, height: int, width: int) -> None:
        self._owner, self._size = owner, (height, width)
        counts = np.concatenate([part.counts().numpy() for part in pixels])
        pixel = np.concatenate([part.index[part.valid].numpy() for part in pixels])
        shape = (int(owner.max(initial=-1)) + 1, height * width)
        once = np.ones(len(pixel), dtype=np.float32)
        self._of_owner = sparse.csr_array((once, (np.repeat(owner, counts), pixel)), shape=shape)
        self._total = np.bincount(pixel, minlength=height * width).astype(np.float32)

    def others(self, images: Index) -> Tensor:
        """(m, h, w) float32: fixations on each pixel, those of the owners of ``images`` (m,) left out."""
        own = self._of_owner[self._owner[images]].toarray()
        return torch.from_numpy(self._total - own).view(-1, *self._size)
