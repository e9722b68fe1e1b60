"""The adaptation in docs/tokenmixup.md has TokenMixup's rule for mask and label, which the released code misses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import cases, load, run

from gazeeval.contract import check_pairs
from gazeeval.mixers.base import AnyMixer, Draws, parse_method
from gazeeval.signals.base import BottomUp, Signals
from gazeeval.types import PairBatch

PAGE = Path(__file__).parents[2] / "docs" / "tokenmixup.md"


@pytest.fixture
def adaptation(tmp_path: Path) -> str:
    """The mixer of the page, in a file of a user's own."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    file = tmp_path / "inputtokens.py"
    file.write_text(code)
    return f"{file}:InputTokens"


def pairs_of(data: dict[str, Any]) -> tuple[PairBatch, Signals]:
    """The stored partners, and the stored saliency as the answer about each image."""
    saliency = torch.from_numpy(data["saliency"])
    side = int(saliency.shape[1] ** 0.5)
    source, target = torch.from_numpy(data["source_index"]), torch.from_numpy(data["applied_index"])
    images = torch.rand(len(saliency), 3, 8 * side, 8 * side, generator=torch.Generator().manual_seed(0))
    pairs = PairBatch(images, torch.arange(len(images)), source, target)
    return pairs, Signals({BottomUp(): saliency.view(-1, side, side)}, source, target)


@pytest.mark.parametrize("case", cases("tokenmixup_"))
def test_oracle(case: str, adaptation: str) -> None:
    data = load(case)
    mixer: AnyMixer = parse_method(f"{adaptation}:rho={float(data['rho'])}")
    pairs, signals = pairs_of(data)
    placement, labels, _ = run(mixer, pairs, Draws(), signals)
    tokens = placement.mask[:, ::8, ::8].flatten(1)
    np.testing.assert_array_equal(tokens, data["source_mask_tokens"])
    np.testing.assert_allclose(labels.lam, data["lam_source"], rtol=0, atol=1e-5)
    check_pairs(mixer, pairs, signals)


def test_what_the_page_says_about_the_released_code() -> None:
    """One mask for all rows, with saliency of their own: where the partner is the first easy sample it is empty."""
    for case in cases("tokenmixup_"):
        data = load(case)
        saliency, easy, partner = data["saliency"], data["applied_index"], data["source_index"]
        of_first = saliency[partner] - saliency[easy[0]] > float(data["rho"])
        np.testing.assert_array_equal(data["official_source_mask_tokens"], of_first)
        own = data["source_mask_tokens"]
        assert (own[0] == of_first[0]).all()
        assert not of_first[partner == easy[0]].any()
