"""Placement of images in a display frame: the oracle's positions and shares, and how a declaration is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeeval.data.frame import PLACEMENTS, check_placement, frame_to_image, outside_share, place
from gazeeval.errors import DataError

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = sorted(ORACLE.glob("gaze-datasets_placement_*.npz"))
CANDIDATES = ("stretch", "contain", "native", "cover")  # the oracle's numbering


def test_the_oracle_is_there() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_oracle(case: Path) -> None:
    data = np.load(case)
    frame = int(data["frame_w"]), int(data["frame_h"])
    w, h = data["img_w"][data["img"]], data["img_h"][data["img"]]
    shares = outside_share(data["gaze_x"], data["gaze_y"], w, h, *frame)
    for m, name in enumerate(CANDIDATES):
        x, y = frame_to_image(data["gaze_x"], data["gaze_y"], w, h, *frame, name)
        np.testing.assert_allclose(x, data[f"x_img_{m}"], atol=1e-3)
        np.testing.assert_allclose(y, data[f"y_img_{m}"], atol=1e-3)
        np.testing.assert_array_equal((x >= 0) & (x < w) & (y >= 0) & (y < h), data[f"inside_{m}"].astype(bool))
        assert shares[name].all == pytest.approx(float(data["outside_share"][m]), abs=1e-6)
    truth = CANDIDATES[int(data["truth"])]
    report = check_placement(data["gaze_x"], data["gaze_y"], w, h, *frame, truth)
    if report.outside[truth].portrait < 0.02:
        assert (report.supported, report.verdict) == (truth, "ok")
    else:  # the noisy case: 3 of 117 samples on portrait images
        assert report.verdict == "warn"


sizes = st.integers(1, 3000)


@given(w=sizes, h=sizes, placement=st.sampled_from([*PLACEMENTS, (10, 20, 300, 90)]), u=st.floats(0, 1))
def test_placing_and_undoing_is_the_identity(
    w: int, h: int, placement: str | tuple[int, int, int, int], u: float
) -> None:
    placed = place(w, h, 1280, 720, placement)
    x, y = frame_to_image(
        u * w * placed.scale_x + placed.left, u * h * placed.scale_y + placed.top, w, h, 1280, 720, placement
    )
    np.testing.assert_allclose([x, y], [u * w, u * h], atol=1e-6)


def test_contain_fits_and_cover_fills() -> None:
    w, h = np.array([500, 200]), np.array([300, 400])
    for name, side in (("contain", np.minimum), ("cover", np.maximum)):
        placed = place(w, h, 1280, 720, name)
        np.testing.assert_allclose(placed.scale_x, side(1280 / w, 720 / h))
        np.testing.assert_allclose(placed.left + placed.scale_x * w / 2, 640)
    native = place(500, 300, 1280, 720, "native")
    assert (float(native.left), float(native.top), float(native.scale_x)) == (390, 210, 1)


def gaze_under(truth: str | tuple[float, float, float, float], n: int = 60) -> tuple[np.ndarray, ...]:
    """Gaze spread over n images of many shapes, placed as ``truth`` says: x, y, w, h, image."""
    rng = np.random.default_rng(0)
    w, h = rng.integers(300, 500, n), rng.integers(300, 500, n)
    w[::4], h[::4] = 280, 500
    image = np.repeat(np.arange(n), 40)
    placed = place(w[image], h[image], 1280, 720, truth)
    u, v = rng.random((2, len(image)))
    x = u * w[image] * placed.scale_x + placed.left
    return x, v * h[image] * placed.scale_y + placed.top, w[image], h[image], image


@pytest.mark.parametrize(
    ("truth", "declared", "verdict"),
    [
        *((name, name, "ok") for name in PLACEMENTS),
        ("contain", "stretch", "warn"),  # too large: nothing falls outside, yet contain explains the gaze with less
        ("contain", "native", "refuse"),
        ("native", "cover", "warn"),
        ("stretch", "contain", "refuse"),
        ("cover", "stretch", "refuse"),
    ],
)
def test_a_declaration_is_tested(truth: str, declared: str, verdict: str) -> None:
    x, y, w, h, image = gaze_under(truth)
    report = check_placement(x, y, w, h, 1280, 720, declared, image=image)
    assert (report.declared, report.supported, report.verdict) == (declared, truth, verdict)
    assert f"supports {truth!r}" in report.message
    assert f"{declared} {report.outside[declared].all:.1%}" in report.message


def test_portrait_images_count_on_their_own() -> None:
    """Few portrait images, half of their gaze outside: below 2 % of all gaze, but contain is not supported."""
    x, y, w, h, image = gaze_under("stretch", 1000)
    portrait = h > w
    few = portrait & (image < 12)
    inside = frame_to_image(x, y, w, h, 1280, 720, "contain")[0]
    keep = few | (~portrait & (inside >= 0) & (inside < w))
    report = check_placement(x[keep], y[keep], w[keep], h[keep], 1280, 720, "contain")
    assert report.outside["contain"].all < 0.02 < report.outside["contain"].portrait
    assert report.outside["contain"].landscape == 0
    assert (report.supported, report.verdict) == ("stretch", "warn")


def test_a_rectangle_is_a_candidate() -> None:
    rectangle = (340.0, 60.0, 940.0, 660.0)
    x, y, w, h, _ = gaze_under(rectangle)
    report = check_placement(x, y, w, h, 1280, 720, rectangle)
    assert (report.declared, report.verdict) == ("rectangle", "ok")
    assert report.outside["rectangle"].all == 0


def test_spread_against_aspect_is_told_with_enough_images() -> None:
    def r(truth: str) -> float:
        x, y, w, h, image = gaze_under(truth)
        return float(check_placement(x, y, w, h, 1280, 720, truth, image=image).message.split("r = ")[1].split()[0])

    assert r("contain") > 0.5
    assert abs(r("stretch")) < 0.3
    x, y, w, h, image = gaze_under("contain", 20)
    assert "Spread" not in check_placement(x, y, w, h, 1280, 720, "contain", image=image).message


def test_missing_positions_do_not_count() -> None:
    x, y, w, h, _ = gaze_under("contain")
    holed = np.where(np.arange(len(x)) % 3 == 0, np.nan, x)
    report = check_placement(holed, y, w, h, 1280, 720, "contain")
    assert (report.verdict, report.outside["contain"].all) == ("ok", 0)
    with pytest.raises(DataError, match="no gaze position is a number"):
        check_placement(np.full(len(x), np.nan), y, w, h, 1280, 720, "contain")


def test_wrong_declarations_are_named() -> None:
    with pytest.raises(DataError, match="got 'contian' \\(did you mean 'contain'\\?\\)"):
        frame_to_image(1, 1, 2, 2, 3, 3, "contian")
    with pytest.raises(DataError, match="x1 > x0"):
        frame_to_image(1, 1, 2, 2, 3, 3, (5, 0, 5, 3))
