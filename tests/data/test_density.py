from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gazeeval.data.density import GazeRecipe, Sigma, gaze_density, visible_mass
from gazeeval.data.geometry import Geometry
from gazeeval.errors import UsageError

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = sorted(set(ORACLE.glob("heatmap_*.npz")) - set(ORACLE.glob("heatmap_transform_*.npz")))
MAPS: dict[str, dict[str, Any]] = {
    "sampled": {"sampled": True, "normalise": False},
    "integrated": {"normalise": False},
    "sampled_sum1": {"sampled": True},
    "integrated_sum1": {},
    "perfix_sum1": {"border": "per-fixation"},
    "reflect_sum1": {"border": "reflect"},
}
H, W = 20, 28
Gaze = tuple[Tensor, Tensor, Tensor]  # x, y, weight of one image


def arguments(case: Any) -> tuple[Any, ...]:
    x, y, weight, sigma_x, sigma_y = (
        torch.from_numpy(case[name]) for name in ("x", "y", "weight", "sigma_x", "sigma_y")
    )
    return x, y, weight, (sigma_x, sigma_y), int(case["height"]), int(case["width"])


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def phi(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


def columns(rows: list[tuple[float, float, float]]) -> Gaze:
    x, y, weight = zip(*rows, strict=True)
    return row(*x), row(*y), row(*weight)


gaze_rows = st.lists(
    st.tuples(st.floats(-6, W + 6), st.floats(-6, H + 6), st.floats(0.1, 9)), min_size=1, max_size=4
).map(columns)
sigmas = st.floats(0.7, 12)


def spans(size: int) -> st.SearchStrategy[tuple[int, int]]:
    """First and last + 1 of some of ``size`` pixels."""
    return st.tuples(st.integers(0, size - 1), st.integers(1, size)).map(lambda s: (s[0], max(s[0] + 1, s[1])))


few = settings(max_examples=25, deadline=None)


def test_there_are_oracles() -> None:
    assert len(CASES) == 10


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", MAPS)
def test_maps_agree_with_the_oracle(path: Path, name: str) -> None:
    case = np.load(path)
    if name not in case:
        assert path.stem == "heatmap_full224"
        return
    ours = gaze_density(*arguments(case), **MAPS[name])
    assert ours.dtype == torch.float32
    expected = np.nan_to_num(case[name])  # where the oracle has no map, ours is zero
    largest = expected.max(axis=(1, 2))
    assert (np.abs(ours.numpy() - expected).max(axis=(1, 2)) <= 1e-5 * largest).all()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_visible_mass_agrees_with_the_oracle(path: Path) -> None:
    case = np.load(path)
    np.testing.assert_allclose(visible_mass(*arguments(case)).numpy(), case["visible_mass"], rtol=1e-6)


@few
@given(gaze_rows, sigmas, st.booleans())
def test_mass_is_one(gaze: Gaze, sigma: float, sampled: bool) -> None:
    density = gaze_density(*gaze, sigma, H, W, sampled=sampled)
    assert float(density.min()) >= 0
    assert float(density.double().sum()) == pytest.approx(1, abs=1e-6)


@few
@given(gaze_rows, sigmas, st.integers(-3, 3), st.integers(-3, 3))
def test_moving_the_gaze_moves_the_map(gaze: Gaze, sigma: float, dx: int, dy: int) -> None:
    x, y, weight = gaze
    large = gaze_density(x + 3, y + 3, weight, sigma, H + 6, W + 6, normalise=False)
    window = large[:, 3 - dy : 3 - dy + H, 3 - dx : 3 - dx + W]
    moved = gaze_density(x + dx, y + dy, weight, sigma, H, W, normalise=False)
    torch.testing.assert_close(moved, window, rtol=1e-5, atol=1e-7)


@few
@given(gaze_rows, sigmas, st.floats(1e-3, 1e6))
def test_the_unit_of_weights_is_nothing(gaze: Gaze, sigma: float, factor: float) -> None:
    x, y, weight = gaze
    torch.testing.assert_close(
        gaze_density(x, y, weight * factor, sigma, H, W), gaze_density(x, y, weight, sigma, H, W)
    )


@few
@given(gaze_rows, sigmas)
def test_a_fixation_may_be_split(gaze: Gaze, sigma: float) -> None:
    x, y, weight = gaze
    parts = torch.cat([0.3 * weight, 0.7 * weight], dim=1)
    split = gaze_density(x.repeat(1, 2), y.repeat(1, 2), parts, sigma, H, W)
    torch.testing.assert_close(split, gaze_density(x, y, weight, sigma, H, W))


@few
@given(gaze_rows, sigmas, spans(W), spans(H))
def test_mass_of_a_box_in_closed_form(gaze: Gaze, sigma: float, across: tuple[int, int], down: tuple[int, int]) -> None:
    (x0, x1), (y0, y1) = across, down
    box = gaze_density(*gaze, sigma, H, W, normalise=False)[0, y0:y1, x0:x1].double().sum()
    expected = sum(
        float(w)
        * (phi((x1 - float(x)) / sigma) - phi((x0 - float(x)) / sigma))
        * (phi((y1 - float(y)) / sigma) - phi((y0 - float(y)) / sigma))
        for x, y, w in zip(*(part[0] for part in gaze), strict=True)
    )
    assert float(box) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("border", ["renormalise", "per-fixation", "reflect"])
def test_flipping_the_geometry_flips_the_map(border: Any) -> None:
    points = Geometry.from_config((H, W), 0.9, "bicubic").point_map(np.array([71]), np.array([50]))
    original = np.array([[12.3, 40.0, 70.5]]), np.array([[8.0, 31.7, 2.2]])
    index = np.array([[0]])
    sigma_x, sigma_y = (
        torch.from_numpy(part) for part in Sigma(10, "%").in_input(points, np.array([71]), np.array([50]))
    )

    def render(flip: bool) -> Tensor:
        x, y = (points.flipped(W) if flip else points).apply(*original, index)
        weight = row(1, 2, 3)
        return gaze_density(torch.from_numpy(x), torch.from_numpy(y), weight, (sigma_x, sigma_y), H, W, border=border)

    torch.testing.assert_close(render(True), render(False).flip(2), rtol=1e-5, atol=1e-9)


def test_an_image_is_the_same_in_any_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y, weight = (torch.rand(150, 5, generator=rng) * side for side in (W, H, 1))
    sigma = 1 + 3 * torch.rand(150, generator=rng)
    together = gaze_density(x, y, weight, sigma, H, W)
    assert torch.equal(together, gaze_density(x, y, weight, sigma, H, W))
    for i in (0, 63, 64, 149):
        padded = torch.nn.functional.pad(torch.stack([x[i], y[i], weight[i]]), (0, 7)).unsqueeze(1)
        alone = gaze_density(padded[0], padded[1], padded[2], sigma[i : i + 1], H, W)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-6, atol=1e-6 * float(together[i].max()))


def test_gaze_far_outside_keeps_the_shape_of_its_tail() -> None:
    """Its mass, exp(-600) or so, is below the smallest float64 once both axes are multiplied."""
    sigma = 2.0
    density = gaze_density(row(-60), row(-50), row(1e-3), sigma, H, W)[0].double()
    assert float(density.sum()) == pytest.approx(1, abs=1e-6)
    tail = [math.erfc((60 + j) / sigma / math.sqrt(2)) for j in range(3)]
    expected = (tail[1] - tail[2]) / (tail[0] - tail[1])
    assert float(density[0, 1] / density[0, 0]) == pytest.approx(expected, rel=1e-5)


def test_gaze_beyond_every_tail_is_not_visible() -> None:
    assert not gaze_density(row(-100), row(5), row(1), 2.0, H, W).any()
    masses = [float(gaze_density(row(-74 - i / 16), row(5), row(1), 2.0, H, W).sum()) for i in range(64)]
    assert all(mass == 0 or mass == pytest.approx(1, abs=1e-6) for mass in masses)
    assert masses[0] > masses[-1]


@pytest.mark.parametrize("sigma", [0.3, 2.0, 9.0])
def test_gaze_on_the_edge_of_a_pixel_belongs_to_both_sides(sigma: float) -> None:
    density = gaze_density(row(10), row(7), row(1), sigma, 14, 20)
    torch.testing.assert_close(density, density.flip(2), rtol=1e-5, atol=0)
    torch.testing.assert_close(density, density.flip(1), rtol=1e-5, atol=0)
    corner = gaze_density(row(0, 20), row(0, 14), row(1, 1), sigma, 14, 20, normalise=False)
    assert float(corner.double().sum()) == pytest.approx(2 * (phi(20 / sigma) - 0.5) * (phi(14 / sigma) - 0.5))


def test_tails_keep_relative_precision() -> None:
    density = gaze_density(row(15), row(5.5), row(1), 1.0, 24, 28, normalise=False)[0].double()
    expected = (phi(-11) - phi(-12)) * (2 * phi(0.5) - 1)
    assert float(density[5, 26]) == pytest.approx(expected, rel=1e-5, abs=0)
    assert float(density[5, 3]) == pytest.approx(expected, rel=1e-5, abs=0)


@pytest.mark.parametrize("border", ["renormalise", "per-fixation", "reflect"])
def test_no_weight_gives_a_zero_map(border: Any) -> None:
    x = torch.full((3, 2), 5.0)
    weight = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    density = gaze_density(x, x, weight, 2.0, H, W, border=border)
    assert density.sum(dim=(1, 2)).tolist() == pytest.approx([0, 1, 0])
    assert visible_mass(x, x, weight, 2.0, H, W).isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_draw(shape: tuple[int, int]) -> None:
    nothing = torch.zeros(shape)
    density = gaze_density(nothing, nothing, nothing, 2.0, H, W)
    assert density.shape == (shape[0], H, W)
    assert not density.any()


def test_points_outside_count_only_under_renormalise() -> None:
    x, y, weight = row(-1, 10), row(10, 10), row(5, 1)
    inside = gaze_density(row(10), row(10), row(1), 3.0, H, W, border="per-fixation")
    torch.testing.assert_close(gaze_density(x, y, weight, 3.0, H, W, border="per-fixation"), inside)
    assert not torch.allclose(gaze_density(x, y, weight, 3.0, H, W), inside)
    assert not gaze_density(row(-1), row(10), row(5), 3.0, H, W, border="reflect").any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": row(math.nan)}, "x and y must be finite"),
        ({"y": row(math.inf)}, "x and y must be finite"),
        ({"weight": row(-1)}, "weights must be finite and not negative"),
        ({"weight": row(math.nan)}, "weights must be finite and not negative"),
        ({"sigma": 0.0}, "sigma must be finite and positive"),
        ({"sigma": (torch.ones(1), torch.tensor([math.nan]))}, "sigma must be finite and positive"),
        ({"sigma": torch.ones(3)}, r"sigma: got shape \(3,\) for 1 images"),
        ({"x": row(1, 2)}, r"got shapes \(1, 2\), \(1, 1\), \(1, 1\)"),
        ({"border": "nearest"}, "border: got 'nearest'"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"x": row(1), "y": row(1), "weight": row(1), "sigma": 2.0, "height": H, "width": W}
    with pytest.raises(ValueError, match=message):
        gaze_density(**{**good, **change})


@pytest.mark.parametrize(
    ("text", "value", "unit"), [("9px", 9, "px"), (" 3.5 % ", 3.5, "%"), ("1deg", 1, "deg"), ("1e1px", 10, "px")]
)
def test_sigma_reads_what_it_writes(text: str, value: float, unit: str) -> None:
    sigma = Sigma.parse(text)
    assert (sigma.value, sigma.unit) == (value, unit)
    assert Sigma.parse(str(sigma)) == sigma


def test_sigma_is_written_as_it_is_typed() -> None:
    assert [str(Sigma.parse(text)) for text in ("9px", "9.0px", "3.5%", "1deg")] == ["9px", "9px", "3.5%", "1deg"]


@pytest.mark.parametrize("text", ["9", "px", "", "9 cm", "-1px", "0%", "nanpx", "infdeg", "1e999px", "1.2.3px", "--px"])
def test_bad_sigma_shows_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"--sigma: got .* 9px .* 3\.5% .* 1deg"):
        Sigma.parse(text)


@pytest.mark.parametrize(("value", "unit"), [(math.nan, "px"), (0, "%"), (-2, "deg"), (1, "cm")])
def test_bad_sigma_by_hand(value: float, unit: Any) -> None:
    with pytest.raises(UsageError, match="--sigma"):
        Sigma(value, unit)


def test_sigma_follows_the_resize() -> None:
    widths, heights = np.array([500, 333]), np.array([375, 500])
    points = Geometry.from_config((224, 224), 0.875, "bicubic").point_map(widths, heights)
    percent = Sigma(4, "%").in_input(points, widths, heights)
    np.testing.assert_allclose(percent[0], [15 * 341 / 500, 13.32 * 256 / 333])
    np.testing.assert_allclose(percent[1], [15 * 256 / 375, 13.32 * 384 / 500])
    degrees = Sigma(2, "deg").in_input(points, widths, heights, px_per_degree=30)
    np.testing.assert_allclose(degrees[0], 60 * points.scale_x)
    np.testing.assert_allclose(degrees[1], 60 * points.scale_y)
    np.testing.assert_array_equal(Sigma(9, "px").in_input(points, widths, heights), np.full((2, 2), 9.0))


def test_degrees_need_the_size_of_a_degree() -> None:
    points = Geometry.stretch(10, 10, "bicubic").point_map(np.array([20]), np.array([20]))
    with pytest.raises(UsageError, match=r"got 1deg.*px_per_degree"):
        Sigma(1, "deg").in_input(points, np.array([20]), np.array([20]))


def test_recipe_says_what_it_is() -> None:
    assert str(GazeRecipe(Sigma(3.5, "%"))) == "sigma=3.5%,weight=duration,border=renormalise"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"weight": "durations"}, "--weight.*did you mean 'duration'"), ({"border": "mirror"}, "--border.*reflect")],
)
def test_bad_recipe(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GazeRecipe(Sigma(9, "px"), **change)
