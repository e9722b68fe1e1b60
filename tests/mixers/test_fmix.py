"""FMix against the released code, and the field that its paper describes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import DEVICES, cases, load, pair_batch, run

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import parse_method
from gazeeval.mixers.fmix import FMix, FMixDraws, Spectrum, smooth_field
from gazeeval.testing import check_mixer, example_pairs


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("fmix_official"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    count = len(data["x_target"])
    assert (data["coin"] > 0.5) == data["round_up"]
    draws = FMixDraws(
        torch.from_numpy(1 - np.atleast_1d(data["lam_drawn"])).expand(count),
        torch.from_numpy(np.atleast_1d(data["round_up"] == 1)).expand(count),
        torch.from_numpy(data["normals"][:2]).expand(count, -1, -1, -1),
    )
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    mixer = FMix(decay=float(data["decay_power"]), max_soft=float(data["max_soft"]))
    placement, labels, mixed = run(mixer, pairs, draws)

    field = smooth_field(draws.normals.to(device), pairs.size, mixer.decay, "official")[0].cpu()
    scaled = (field - field.min()) / (field.max() - field.min())
    np.testing.assert_allclose(scaled, data["low_freq_image"], rtol=0, atol=1e-13)
    mask, step = placement.mask.cpu(), 6e-8 if mixer.max_soft else 0  # one step of float32
    np.testing.assert_allclose(mask, np.broadcast_to(data["mask"], mask.shape), rtol=0, atol=step)
    np.testing.assert_allclose(1 - mask, np.broadcast_to(data["target_mask"], mask.shape), rtol=0, atol=step)
    np.testing.assert_allclose(mixed.cpu(), data["mixed"], rtol=0, atol=3e-7)
    np.testing.assert_allclose(labels.lam.cpu(), np.full(count, data["lam_source_actual"]), rtol=0, atol=1e-7)
    _, nominal, _ = run(FMix(label="nominal"), pairs, draws)
    np.testing.assert_allclose(nominal.lam.cpu(), np.full(count, data["lam_source"]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(1 - nominal.lam.cpu(), np.full(count, data["lam_code"]), rtol=0, atol=1e-12)
    assert placement.kind == ("soft" if mixer.max_soft else "binary")


@pytest.mark.parametrize("size", [(24, 40), (27, 33), (20, 96)])
@pytest.mark.parametrize("spectrum", ["official", "isotropic"])
def test_which_frequencies_the_field_holds(spectrum: Spectrum, size: tuple[int, int]) -> None:
    draws = FMix(spectrum=spectrum).draw(PairRng(0, "fmix", range(200)), size)
    power = torch.fft.fft2(smooth_field(draws.normals, size, 3.0, spectrum)).abs().square().mean(dim=0)
    beyond = power[:, 2:-1].sum() / power.sum()
    assert beyond < 1e-16 if spectrum == "official" else beyond > 0.01
    if spectrum == "isotropic":
        # columns above 0 keep independent coefficients: power falls as frequency^-6, alike along both axes
        f = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1])).clamp(min=1 / max(size))
        ratio = (power * f**6)[:, 1 : (size[1] - 1) // 2]
        torch.testing.assert_close(ratio / ratio.mean(), torch.ones_like(ratio), rtol=0, atol=0.5)


@pytest.mark.parametrize("options", ["", "spectrum=isotropic", "max_soft=0.3", "label=nominal", "reformulate=true"])
def test_variants_keep_the_contract_at_any_size(options: str) -> None:
    mixer = parse_method(f"fmix:{options}" if options else "fmix")
    check_mixer(mixer, sizes=((32, 32), (27, 33), (20, 96), (96, 20), (2, 3)))


@pytest.mark.parametrize("max_soft", [0.0, 0.1, 0.5])
def test_the_mask_has_the_share_that_was_drawn(max_soft: float) -> None:
    mixer = FMix(max_soft=max_soft)
    pairs, _ = example_pairs(mixer, (40, 30))
    draws = mixer.draw(PairRng(1, "fmix", range(6)), pairs.size)
    placement, labels, _ = run(mixer, pairs, draws)
    torch.testing.assert_close(labels.lam, draws.lam, rtol=0, atol=1.5 / 1200)
    between = ((placement.mask > 0) & (placement.mask < 1)).double().mean(dim=(1, 2))
    expected = 2 * torch.minimum(draws.lam, 1 - draws.lam).clamp(max=max_soft)
    torch.testing.assert_close(between, expected, rtol=0, atol=4.5 / 1200)  # 2 floor(.) - 2 pixels


def test_among_equal_values_the_first_pixels_show_the_target() -> None:
    pairs, _ = example_pairs(FMix(), (8, 8))
    lam = torch.full((6,), 0.25, dtype=torch.float64)
    flat = FMixDraws(lam, torch.zeros(6, dtype=torch.bool), torch.zeros(6, 2, 5, 2, dtype=torch.float64))
    placement, _, _ = run(FMix(), pairs, flat)
    expected = (torch.arange(64) >= 48).float().view(8, 8).expand(6, 8, 8)
    torch.testing.assert_close(placement.mask, expected, rtol=0, atol=0)


def test_draws_follow_their_laws() -> None:
    rng = PairRng(0, "fmix", np.arange(20_000))
    draws = FMix().draw(rng, (8, 8))
    assert draws.normals.shape == (20_000, 2, 5, 2)
    assert draws.normals.mean().item() == pytest.approx(0, abs=0.01)
    assert draws.normals.std().item() == pytest.approx(1, abs=0.01)
    assert draws.lam.mean().item() == pytest.approx(0.5, abs=0.01)
    assert draws.round_up.double().mean().item() == pytest.approx(0.5, abs=0.02)
    shares = [FMix(alpha=alpha, reformulate=True).draw(rng, (8, 8)).lam.mean().item() for alpha in (1.0, 0.5)]
    assert shares == pytest.approx([1 / 3, 1 / 4], abs=0.01)  # the target's Beta(a + 1, a) has mean (a + 1) / (2a + 1)


def test_a_uniform_of_zero_gives_a_finite_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairRng, "uniform", lambda self, stream, *shape: np.zeros((len(self.ids), *shape)))
    assert FMix().draw(PairRng(0, "fmix", range(2)), (8, 8)).normals.isfinite().all()


@pytest.mark.parametrize("options", ["alpha=0", "decay=-1", "max_soft=0.6", "max_soft=-0.1"])
def test_hyperparameters_are_checked(options: str) -> None:
    with pytest.raises(UsageError, match=f"{options.partition('=')[0]}, got"):
        parse_method(f"fmix:{options}")
