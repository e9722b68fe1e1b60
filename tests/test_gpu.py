"""A GPU gives what the CPU gives: every signal, and the rows of every method.

The mixers' and detectors' oracle tests also run on CUDA where there is one; here the whole way is compared.
"""

from __future__ import annotations

import pytest
import torch

import gazeeval as ge
from benchmarks.devices import Apart, methods, signals

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
def test_signals_agree() -> None:
    apart = signals("cuda")
    assert max(apart.values()) < 1e-3, apart


@pytest.mark.gpu
@gpu
def test_rows_agree() -> None:
    """Where a network or a detector decides between places that are all but equal, another mask may be chosen."""
    for each in methods("cuda", 64):
        assert each.unlike == 0, each
        assert each.masks <= 1, each
        if each.masks == 0:
            assert max(each.lam, each.lam_gaze, each.probability) < 1e-3, each


@pytest.mark.gpu
@gpu
def test_deterministic_runs_are_the_same_to_the_bit() -> None:
    options = {"num_pairs": 64, "device": "cuda", "deterministic": True, "references": False}
    one, other = (ge.evaluate(["cutmix", "puzzlemix", "snapmix"], **options).pairs for _ in range(2))
    assert one.equals(other)


def test_the_cpu_agrees_with_itself() -> None:
    found = methods("cpu", 4, ["cutmix", "mixpro", "manifoldmix"])
    assert [each.method for each in found] == ["cutmix", "mixpro", "manifoldmix"]
    for each in found:
        assert (each.lam, each.lam_gaze, each.masks, each.unlike) == (0, 0, 0, 0), each


def test_differences_are_found() -> None:
    rows = ge.evaluate("cutmix", num_pairs=4, references=False, device="cpu").pairs
    other = rows.copy()
    other["lam"] += [0, 0.25, 0, 0]
    other["box_x0"] += [1, 0, 1, 0]
    other["status"] = ["ok", "ok", "ok", "flat_map"]
    apart = Apart.of("cutmix", rows, other)
    assert (apart.lam, apart.lam_gaze, apart.masks, apart.unlike) == (0.25, 0, 2, 1)
