"""The benchmarks work and say what they mean; how fast anything is, no test asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"

if TYPE_CHECKING:
    from benchmarks import fine_grained, gaze_density, goals, page, photos, stages
else:  # the folder is no part of the package
    sys.path.insert(0, str(ROOT))
    from benchmarks import fine_grained, gaze_density, goals, page, photos, stages

    sys.path.remove(str(ROOT))

CPU = torch.device("cpu")


@pytest.fixture
def demo() -> photos.Photos:
    return photos.Photos("cpu", pairs=4, is_real=False)


@pytest.fixture
def quick(demo: photos.Photos, monkeypatch: pytest.MonkeyPatch) -> goals.Options:
    """As small as it gets."""
    monkeypatch.setattr(goals, "_photos", lambda options: demo)
    monkeypatch.setattr(goals, "TOGETHER", ("cutmix", "guidedmixup-ap"))
    monkeypatch.setattr(gaze_density, "IMAGES", 4)
    monkeypatch.setattr(fine_grained, "SIDE", 32)
    return goals.Options(CPU, repeats=1, quick=True)


@pytest.mark.parametrize(
    "name",
    ["gaze", "saliency", "families", *(pytest.param(name, marks=pytest.mark.slow) for name in ("run", "together"))],
)
def test_every_goal_gives_rows(name: str, quick: goals.Options) -> None:
    threads = torch.get_num_threads()
    rows = list(goals.MEASURES[name](quick))
    assert rows
    assert torch.get_num_threads() == threads
    for row in rows:
        assert row.work
        assert any(character.isdigit() for character in row.ours)
        assert row.goal
        assert row.met in {"yes", "no", ""}


def test_densities_are_exact(quick: goals.Options) -> None:
    *_, exact = goals.gaze(quick)
    assert exact.met == "yes"


def test_methods_share_gradients(quick: goals.Options) -> None:
    passes = next(goals.methods_together(quick))
    found = float(passes.ours.split()[0])
    assert 1 <= found < 2  # of two methods, only one needs a gradient; black and lone images add some


def test_ratios_are_of_the_same_round() -> None:
    ours, reference = np.array([[1.0, 2], [2, 2], [4, 2]]), np.array([[100.0, 50], [100, 50], [1600, 50]])
    row = goals._faster("work", ours, reference, "theirs", at_least=100)
    assert (row.ratio, row.cpu_ratio) == ("100 [75, 250]x", "25 [25, 25]x")
    assert (row.ours, row.reference) == ("2 [1.5, 3] s", "theirs: 100 [100, 850] s")
    assert (row.goal, row.met) == ("≥ 100x", "yes")
    assert goals._slower("work", reference, ours, "theirs", at_most=1.2).met == "no"


def test_stages_sum_to_the_whole(demo: photos.Photos) -> None:
    found = stages.stages_of_a_run(["cutmix"], demo, stages.WALL)
    apart = sum(seconds for stage, seconds in found.items() if stage not in (*stages.IN_THREADS, "all"))
    assert apart == pytest.approx(found["all"])
    assert all(found[stage] > 0 for stage in (*stages.STAGES, stages.MODEL))


def test_a_stage_is_not_charged_for_another() -> None:
    now = 0.0

    def after(seconds: float, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
        def work() -> None:
            nonlocal now
            now += seconds
            then()

        return work

    watch = stages.Stopwatch(stages.Clock(lambda: now, time.process_time))
    inner = watch.charging("inner", after(2))
    watch.charging("outer", after(1, then=inner))()
    inner()
    assert watch.seconds == {"inner": 4, "outer": 1}


def test_nothing_stays_patched(demo: photos.Photos) -> None:
    before = [getattr(owner, name) for targets in stages.STAGES.values() for owner, name in targets]
    with pytest.raises(KeyError), stages.Stopwatch(stages.CPU).watching(demo):
        raise KeyError
    assert before == [getattr(owner, name) for targets in stages.STAGES.values() for owner, name in targets]


def test_tables_go_where_the_page_wants_them(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    for mark in ("cpu", "cuda", "before", "after"):
        page.store(copy, mark, f"table of {mark}")
        page.store(copy, mark, f"newer table of {mark}")
    text = copy.read_text(encoding="utf-8")
    assert text.count("newer table of") == 4
    assert text.count("table of") == 4
    with pytest.raises(SystemExit, match=r"has no lines '<!-- begin tpu -->'"):
        page.store(copy, "tpu", "")


def test_the_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"torch {torch.__version__}" in page.machine("cpu")
    fake = SimpleNamespace(read_text=lambda: "model name\t: Some CPU\n")
    monkeypatch.setattr(page, "Path", lambda _: fake)
    assert "Some CPU, " in page.machine("cpu")


def test_goals_are_all_on_the_page() -> None:
    """The stored table is that of today's goals."""
    stored = PAGE.read_text(encoding="utf-8").partition("<!-- begin cpu -->")[2].partition("<!-- end cpu -->")[0]
    assert all(name in stored for name in goals.COST_GOALS)
