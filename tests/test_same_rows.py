"""The rows of a run are the same however its work is cut: into processes, batches and threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch.distributed.run import get_args_parser

import gazeeval as ge
from gazeeval import job
from gazeeval.config import RunConfig, flag
from gazeeval.report.files import Results, read_results
from gazeeval.report.finish import finish
from gazeeval.run import run

TABLES = ("pairs.csv", "inconsistency.csv", "groups.csv", "summary.csv", "failures.csv")
OPTIONS: dict[str, Any] = {"num_pairs": 18, "group_size": 8, "device": "cpu", "references": False}
WITHOUT_NETWORK = {"method": ["cutmix", "saliencymix", "fmix"], "input_size": 32, "geometry": "stretch", "sigma": "2px"}
WITH_NETWORK = {"method": ["cutmix", "snapmix", "puzzlemix:blocks=4", "manifoldmix"]}
CUTS = [(1, 1, 4), (2, 7, 0), (3, 64, 4)]  # processes, batch size, workers


@pytest.fixture(scope="module", autouse=True)
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "CHUNK", 4)
        yield


def cut_run(out: Path, world: int, batch_size: int | None, workers: int, **options: Any) -> Results:
    """A run whose parts are done by ``world`` processes, one after the other."""
    given = OPTIONS | options | {"batch_size": batch_size, "workers": workers, "out": out}
    if world == 1:
        run(RunConfig.of(given))
    else:
        for rank in range(world):
            run(RunConfig.of(given | {"shard": f"{rank}/{world}"}))
        finish(out)
    return read_results(out)


@pytest.fixture(scope="module")
def noise() -> ge.Dataset:
    """Images of two sizes with five fixations each."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (30 + 9 * (i % 2), 40, 3), dtype=np.uint8) for i in range(24)]
    points = {"image": np.arange(24).repeat(5), "x": rng.uniform(0, 40, 120), "y": rng.uniform(0, 30, 120)}
    return ge.Dataset.from_arrays(pictures, np.arange(24) % 3, points, ["a", "b", "c"])


@pytest.fixture(scope="module")
def plain(noise: ge.Dataset, _small_chunks: None, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return cut_run(tmp_path_factory.mktemp("runs") / "plain", 1, None, 2, data=noise, **WITHOUT_NETWORK)


@pytest.fixture(scope="module")
def judged(_small_chunks: None, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return cut_run(tmp_path_factory.mktemp("runs") / "judged", 1, None, 2, **WITH_NETWORK)


@pytest.mark.parametrize(("world", "batch_size", "workers"), CUTS)
def test_to_the_byte_where_no_network_is_involved(
    noise: ge.Dataset, plain: Results, tmp_path: Path, world: int, batch_size: int, workers: int
) -> None:
    cut = cut_run(tmp_path / "run", world, batch_size, workers, data=noise, **WITHOUT_NETWORK)
    for name in TABLES:
        assert (cut.folder / name).read_bytes() == (plain.folder / name).read_bytes()


@pytest.mark.parametrize(("world", "batch_size", "workers"), CUTS)
def test_to_rounding_with_a_network(judged: Results, tmp_path: Path, world: int, batch_size: int, workers: int) -> None:
    cut = cut_run(tmp_path / "run", world, batch_size, workers, **WITH_NETWORK)
    pd.testing.assert_frame_equal(cut.pairs, judged.pairs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ["snapmix", "puzzlemix:blocks=4"])
def test_one_method_alone_is_as_it_is_among_others(judged: Results, tmp_path: Path, method: str) -> None:
    alone = cut_run(tmp_path / "run", 2, 7, 0, method=[method]).pairs
    among = judged.pairs[judged.pairs["method"].eq(method)].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        alone.drop(columns="run_id"), among[alone.columns].drop(columns="run_id"), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("name", [name for name in RunConfig.model_fields if name != "model"])
def test_no_option_is_taken_for_one_of_torchrun(name: str) -> None:
    """torchrun looks for abbreviations of its own options in the whole line, on some versions of Python."""
    line = ["--standalone", "--nproc-per-node=2", "-m", "gazeeval", "run", flag(name), "1"]
    assert get_args_parser().parse_args(line).training_script_args == ["run", flag(name), "1"]


@pytest.mark.slow
def test_torchrun_makes_the_run_of_one_process(tmp_path: Path) -> None:
    options = [
        "-n",
        "18",
        "--group-size",
        "8",
        "--no-references",
        "-m",
        "cutmix",
        "-m",
        "saliencymix",
        "--device",
        "cpu",
    ]
    done = torchrun(3, *options, "--out", str(tmp_path / "many"))
    assert done.returncode == 0, done.stderr
    run(RunConfig.of({**OPTIONS, "method": ["cutmix", "saliencymix"], "out": tmp_path / "one"}))
    many, one = (read_results(tmp_path / name).pairs for name in ("many", "one"))
    pd.testing.assert_frame_equal(many, one, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_a_failing_process_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    """The second process meets a mixer that breaks on the pairs of its chunk."""
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import os\nfrom dataclasses import dataclass\nfrom gazeeval.mixers.cutmix import CutMix\n"
        "@dataclass(frozen=True)\nclass Broken(CutMix):\n    name = 'broken'\n"
        "    def place(self, pairs, signals, draws):\n"
        "        if os.environ['RANK'] == '1':\n            raise RuntimeError('this one is broken')\n"
        "        return super().place(pairs, signals, draws)\n"
    )
    options = ["-m", f"{broken}:Broken", "-n", "400", "--no-references"]  # two chunks
    done = torchrun(2, *options, "--device", "cpu", "--out", str(tmp_path / "run"))
    assert done.returncode != 0
    assert "this one is broken" in done.stderr
    assert not (tmp_path / "run" / "summary.csv").exists()


def torchrun(processes: int, *options: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*launcher, "-m", "gazeeval", "run", *options], capture_output=True, text=True, timeout=300, check=False
    )
