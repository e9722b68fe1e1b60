"""Masks that are kept: what was visible comes back, at the coarsest grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gazeeval.errors import DataError
from gazeeval.masks import AnyPlacement, Masks, load_masks, mask_file, save_masks
from gazeeval.types import GroupPlacement, Placement

IDS, ROWS = np.array([3, 5]), np.array([10, 11, 20, 21])


def back(tmp_path: Path, placement: AnyPlacement) -> AnyPlacement:
    path = mask_file(tmp_path, 0, 7)
    save_masks(path, Masks(IDS, ROWS, placement))
    kept = load_masks(path)
    assert (kept.ids.tolist(), kept.rows.tolist()) == (IDS.tolist(), ROWS.tolist())
    return kept.placement


@given(cell=st.sampled_from([1, 2, 4]), seed=st.integers(0, 9))
def test_binary_masks_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, cell: int, seed: int) -> None:
    cells = torch.rand(2, 12 // cell, 8 // cell, generator=torch.Generator().manual_seed(seed)).round()
    mask = cells.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    kept = back(tmp_path_factory.mktemp("run"), Placement.from_mask(mask))
    assert isinstance(kept, Placement)
    assert torch.equal(kept.mask, mask)


def test_soft_masks_come_back_to_16_bits(tmp_path: Path) -> None:
    mask = torch.rand(2, 9, 7)
    kept = back(tmp_path, Placement.from_mask(mask))
    assert isinstance(kept, Placement)
    assert (kept.mask - mask).abs().max() <= 0.5 / 65535 + 1e-7


def test_moved_pixels_come_back_exactly(tmp_path: Path) -> None:
    own = torch.arange(64).reshape(1, 8, 8).repeat(2, 1, 1)
    moved = own.roll(4, dims=2)  # two blocks change places
    nowhere = own.masked_fill(own < 32, -1)
    placement = Placement(torch.full((2, 8, 8), 0.25), "soft", source_index=moved, target_index=nowhere)
    kept = back(tmp_path, placement)
    assert isinstance(kept, Placement)
    for seen, expected in zip(kept.visibility(), placement.visibility(), strict=True):
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_a_mask_of_blocks_is_kept_as_blocks(tmp_path: Path) -> None:
    mask = torch.tensor([[[0, 1], [1, 0]]]).float().repeat(2, 1, 1)
    back(tmp_path, Placement.from_mask(mask.repeat_interleave(32, 1).repeat_interleave(32, 2)))
    with np.load(mask_file(tmp_path, 0, 7)) as stored:
        assert stored["mask"].shape == (2, 2, 2)


def test_weights_of_a_group_come_back(tmp_path: Path) -> None:
    weights = torch.rand(2, 5, 4, 4)
    kept = back(tmp_path, GroupPlacement(weights))
    assert isinstance(kept, GroupPlacement)
    assert torch.equal(kept.weights, weights)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "00000000.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00000000\.npz"):
        load_masks(path)
