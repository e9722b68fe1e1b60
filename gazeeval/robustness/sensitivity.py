"""How far scores and ranking depend on the gaze recipe: the mixes of a run, scored again under others.

Nothing is mixed again and no network is asked: what shows of each image comes from the run folder, and only gaze is
drawn anew. The label of a method is that of the run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from gazeeval.data.dataset import Dataset
from gazeeval.errors import DataError, UsageError, did_you_mean
from gazeeval.mixers.base import parse_method
from gazeeval.report.files import Results, conform, read_results
from gazeeval.robustness.inputs import inputs_of_run
from gazeeval.robustness.kept import KeptPairs, kept_pairs
from gazeeval.robustness.ranking import Ranking, Scores
from gazeeval.robustness.recipes import CHOICES, Gaze, Gazes, base_recipe, recipes_of, usual_choices
from gazeeval.robustness.rescoring import rescore
from gazeeval.robustness.tables import FILES
from gazeeval.signals.base import CentrePrior, GazeDensity

_AT_ONCE = 8  # recipes: their maps of one group are what takes memory
_TOLERANCE = 1e-4  # masks are kept to 1e-5


@dataclass(frozen=True)
class Sensitivity:
    """Scores of the methods of a run under several recipes.

    Attributes:
        scores: sensitivity.csv, one row per recipe and method; the first recipe, ``base``, is that of the run.
        swaps: sensitivity_swaps.csv, one row per recipe and two methods that change places.
        notes: what was left out and what to know, one sentence each.
    """

    scores: pd.DataFrame
    swaps: pd.DataFrame
    notes: tuple[str, ...]


def sensitivity(
    run: str | Path | Results,
    *,
    root: str | Path | None = None,
    data: Dataset | None = None,
    device: str = "auto",
    grid: bool = False,
    progress: bool = False,
    **tried: str | Sequence[object],
) -> Sensitivity:
    """Score the mixes of a finished run under other gaze recipes.

    Args:
        run: its folder.
        root: where the data set's files are now, if they were moved.
        data: the data set, if it was made from arrays.
        grid: all combinations of the values instead of one change at a time.
        tried: values of the fields of `gazeeval.robustness.recipes.Recipe`, ``sigma="5px,9px"`` or a sequence; default:
            what suits the data set.

    Raises:
        UsageError: a choice that the data set does not have, or no method whose masks were kept.
        DataError: run folder, masks or data are missing, damaged or not those of the run.
    """
    results = run if isinstance(run, Results) else read_results(run)
    inputs = inputs_of_run(results.folder, data=data, root=root, device=device)
    base = base_recipe(inputs)
    recipes = recipes_of(base, _values(tried) or usual_choices(inputs.dataset), grid=grid)
    gazes = list(map(Gazes(inputs), recipes))
    methods, left_out = kept_pairs(results, inputs.dataset)
    notes = [f"{name} is left out: {why}" for name, why in left_out.items()]
    if not methods:
        raise UsageError(
            f"methods: {results.folder}, got none to score again ({'; '.join(notes)}). Run without --no-masks."
        )
    notes += [f"{name} keeps the boxes that it made of the run's own gaze" for name in methods if _asks_for_gaze(name)]
    own = frozenset(name for name, told in results.manifest["methods"].items() if told["pairs"] == "own")
    found = _scored(methods, gazes, progress)
    usual = next(found)
    _require_same(results.folder, methods, usual)
    ranking = Ranking(methods, own, usual, inputs.config.ci, inputs.config.ci_method)
    scores, swaps = [], []
    for recipe, values in zip(recipes, chain([usual], found), strict=True):
        told = {"recipe": recipe.label(base)}
        scores.append(ranking.scores(values).assign(**told, **asdict(recipe)))
        swaps.append(ranking.swaps(values).assign(**told))
    return Sensitivity(
        _table(scores, "sensitivity.csv", results), _table(swaps, "sensitivity_swaps.csv", results), tuple(notes)
    )


def _table(parts: list[pd.DataFrame], file: str, results: Results) -> pd.DataFrame:
    first = results.pairs.iloc[0]
    head = {name: first[name] for name in ("run_id", "dataset", "split")}
    return conform(pd.concat(parts, ignore_index=True).assign(**head), FILES[file])


def _values(tried: Mapping[str, str | Sequence[object]]) -> dict[str, Sequence[str]]:
    for name in tried:
        if name not in CHOICES:
            raise UsageError(f"sensitivity: unknown option, got {name!r}{did_you_mean(name, CHOICES)}.")
    given = {name: value.split(",") if isinstance(value, str) else value for name, value in tried.items() if value}
    return {name: [str(value) for value in values] for name, values in given.items()}


def _scored(methods: Mapping[str, KeptPairs], gazes: Sequence[Gaze], progress: bool) -> Iterator[Scores]:
    """The scores under each recipe, in order; some recipes at a time."""
    groups = len(np.unique(np.concatenate([pairs.group for pairs in methods.values()])))
    parts = [gazes[start : start + _AT_ONCE] for start in range(0, len(gazes), _AT_ONCE)]
    shown = None if progress else True
    with tqdm(total=groups * len(parts), unit="group", disable=shown, file=sys.stderr) as bar:
        for part in parts:
            values = {name: np.full((len(part), len(pairs.lam)), np.nan) for name, pairs in methods.items()}
            for found in rescore(methods, part):
                for name, (at, scores) in found.items():
                    values[name][:, at] = scores
                bar.update()
            for number in range(len(part)):
                yield {name: scores[number] for name, scores in values.items()}


def _require_same(folder: Path, methods: Mapping[str, KeptPairs], found: Scores) -> None:
    """Raise DataError unless the run's own recipe gives the run's own scores."""
    for name, pairs in methods.items():
        away = np.abs(found[name] - pairs.inconsistency)
        if np.nanmax(away, initial=0) > _TOLERANCE:
            worst = int(np.nanargmax(away))
            raise DataError(
                f"{folder}: method {name}, pair {pairs.table['pair_id'].iloc[worst]}: inconsistency, got "
                f"{found[name][worst]:.4f}, the run has {pairs.inconsistency[worst]:.4f}. Masks and data must be those "
                "of the run: run again."
            )


def _asks_for_gaze(name: str) -> bool:
    """Whether a method of ours mixes by the gaze itself; of others nothing is known."""
    try:
        return bool(parse_method(name).needs() & {GazeDensity(), CentrePrior()})
    except UsageError:
        return False
