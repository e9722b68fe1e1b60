"""`Placement.blend_pairs` against `blend`: many pairs, whatever the placement; and what `mask_share` adds up."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from oracles import DEVICES

from gazeeval.types import PairBatch, Placement, mass

COUNT, SIZE = 37, (12, 10)  # more pairs than are blended at a time, and no multiple of them


def random_boxes(seed: int) -> torch.Tensor:
    height, width = SIZE
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(width + 1, (COUNT, 2), generator=generator).sort(dim=1).values
    y = torch.randint(height + 1, (COUNT, 2), generator=generator).sort(dim=1).values
    return torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)


def placements() -> dict[str, Placement]:
    height, width = SIZE
    generator = torch.Generator().manual_seed(0)
    soft = torch.rand(COUNT, height, width, generator=generator)
    box = random_boxes(1)
    moved = torch.randint(-1, height * width, (2, COUNT, height, width), generator=generator)
    return {
        "box": Placement.from_boxes(box, SIZE),
        "moved": Placement.from_boxes(box, SIZE, box.flip(0)),
        "soft": Placement.from_mask(soft),
        "constant": Placement.from_mask(soft[:, :1, :1].expand(COUNT, height, width), "soft"),
        "indices": Placement(soft, "patches", source_index=moved[0], target_index=moved[1]),
    }


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", placements())
def test_pairs_blend_like_their_images(kind: str, device: str, layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(9, 3, *SIZE, generator=generator).to(device, memory_format=layout)
    source, target = torch.randint(9, (2, COUNT), generator=generator).to(device)
    parts = {name: part.to(device) for name, part in vars(placements()[kind]).items() if isinstance(part, torch.Tensor)}
    placement = Placement(kind="soft", **parts)
    given = images.clone()
    mixed = placement.blend_pairs(PairBatch(images, source, source, target))
    assert torch.equal(mixed, placement.blend(images[source], images[target]))
    assert torch.equal(images, given)


def test_no_pairs_blend_to_no_images() -> None:
    none = torch.empty(0, dtype=torch.int64)
    pairs = PairBatch(torch.rand(2, 3, *SIZE), none, none, none)
    assert placements()["soft"][:0].blend_pairs(pairs).shape == (0, 3, *SIZE)


def test_whole_coordinates_copy_pixels_and_fractions_mix_them() -> None:
    source, target = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    rows = torch.tensor([[0.0, 0.0, 1.0, 3.0]], dtype=torch.float64)
    everywhere = torch.ones(1, 4, 4)
    copied = Placement(everywhere, "soft", source_rows=rows, source_cols=rows).blend(source, target)
    assert torch.equal(copied, source[:, :, [0, 0, 1, 3]][:, :, :, [0, 0, 1, 3]])
    between = Placement(everywhere, "soft", source_rows=rows + 0.25 * (rows < 3), source_cols=rows).blend(
        source, target
    )
    expected = 0.75 * source[:, :, [0, 0, 1, 3]] + 0.25 * source[:, :, [1, 1, 2, 3]]
    torch.testing.assert_close(between, expected[:, :, :, [0, 0, 1, 3]])


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_map_has_the_same_mass_alone_as_among_others() -> None:
    logits = 20 * torch.randn(33, 224, 224, generator=torch.Generator().manual_seed(5))
    maps = logits.flatten(1).softmax(dim=1).view_as(logits)
    torch.testing.assert_close(mass(maps), maps.double().sum((1, 2)), rtol=1e-12, atol=0)
    assert torch.equal(torch.cat([mass(one) for one in torch.split(maps, 1)]), mass(maps))


def test_the_share_of_a_box_is_its_area() -> None:
    box = random_boxes(4)
    shares = Placement.from_boxes(box, SIZE).mask_share()
    areas = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).tolist()
    assert shares.tolist() == [float(Fraction(area, SIZE[0] * SIZE[1])) for area in areas]
