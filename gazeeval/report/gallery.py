"""Pictures of pairs of a finished run, made again as the run made them: those asked for, or the best, the median and
the worst of every method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from gazeeval.data.pairs import PairPlan
from gazeeval.engine import Engine
from gazeeval.errors import DataError
from gazeeval.report import pictures
from gazeeval.report.files import Results
from gazeeval.report.pictures import COLOURS, PairPicture, Pixels, pair_pictures

BUDGET = 1_500_000
"""Bytes that all pictures together may have; they become smaller where there are many."""

LEAST = 0.05
"""Share of the label that both images of a pair must have to be shown."""

TOLERANCE = 1e-3
"""Between a number of the run and the same made again: less than what is shown."""

_SIDES = (224, 192, 160, 128, 96)  # px, tried in this order
_QUALITY = 72
_TITLES = (*(title for title, _ in pictures.COLUMNS), "further image and its gaze")
_ALTS = (
    "the source under a veil of blue where people looked, what the mix takes of it outlined",
    "the target under a veil of vermilion where people looked, what the source covers outlined",
    "the mask: blue where the source shows, vermilion where the target does",
    "the mixed image, the edge of the mask drawn as a white line",
    "the mixed image in grey, under the gaze on the source (blue) and on the target (vermilion) that is still visible",
    "a further image of the mix under a veil where people looked",
)


class OtherMixesError(DataError):
    """What is mixed now is not what the run mixed."""


class Share(NamedTuple):
    """Part of a bar: where it starts and how wide it is, in percent, and its colour as CSS has it."""

    start: float
    width: float
    colour: str


@dataclass(frozen=True)
class Tile:
    """One picture.

    Attributes:
        webp: the file's content.
        width, height: px.
        title, caption: above and below it.
        alt: what it shows, in words.
        shares: of the images, as a bar; none where they are unknown.
    """

    webp: bytes
    width: int
    height: int
    title: str
    caption: Sequence[str]
    alt: str
    shares: Sequence[Share]


@dataclass(frozen=True)
class Example:
    """A pair under one method; ``place`` is best, median or worst among the pairs of the method."""

    run_id: str
    method: str
    place: str
    pair_id: int
    inconsistency: float
    tiles: Sequence[Tile]


def gallery(results: Results, engine: Engine, plan: PairPlan, *, progress: bool = False) -> list[Example]:
    """The best, the median and the worst pair of every method that mixes images and has a score.

    Args:
        engine, plan: as `gazeeval.job.prepare` makes them from the configuration of the run.

    Raises:
        OtherMixesError: other pairs, labels or gaze than those of the run.
        UsageError: OpenCV cannot be imported.
    """
    run_id, tables = results.manifest["run_id"], dict(iter(results.pairs.groupby("method", sort=False)))
    chosen = [(place, row) for method in engine.methods for place, row in _chosen(tables[method]).items()]
    found = redraw(results, engine, plan, pd.DataFrame([row for _, row in chosen]), progress=progress)
    drawn = [
        (place, picture, float(row["inconsistency"]))
        for place, row in chosen
        if (picture := found.get((row["method"], row["pair_id"])))
    ]
    side = next((side for side in _SIDES if _bytes(drawn, side) <= BUDGET), _SIDES[-1])
    return [
        Example(run_id, picture.method, place, picture.pair_id, score, list(tiles(picture, side)))
        for place, picture, score in drawn
    ]


def redraw(
    results: Results, engine: Engine, plan: PairPlan, rows: pd.DataFrame, *, progress: bool = False
) -> dict[tuple[str, int], PairPicture]:
    """Method and pair -> picture, of some ``rows`` of `Results.pairs`, made again as the run made them.

    There is none of pairs that cannot be read any more, and of methods that mix inside a network. Args and raises as
    `gallery`; a group of images is read once and mixed by the methods that have rows in it.
    """
    was = results.manifest["pairs"]["number"]
    if len(plan) != was:
        raise OtherMixesError(f"pictures: {results.folder}, got {len(plan)} pairs, the run had {was}. {_ADVICE}")
    wanted = {(str(row["method"]), int(row["pair_id"])): row for _, row in rows.iterrows()}
    groups: dict[int, list[tuple[str, int]]] = {}
    for method, pair in wanted:
        groups.setdefault(int(plan.group[pair]), []).append((method, pair))
    found = {}
    for keys in tqdm(groups.values(), desc="pictures", unit="group", disable=None if progress else True):
        some = replace(engine, methods={method: engine.methods[method] for method, _ in keys})
        made = pair_pictures(some, plan, np.array([pair for _, pair in keys]))
        of = {(picture.method, pair): picture for pair, each in made for picture in each}
        for key in keys:
            if key in of:
                _require_same(of[key], wanted[key], results)
                found[key] = of[key]
    return found


Place = Literal["best", "median", "worst"]


def select(rows: pd.DataFrame, place: Place, count: int) -> pd.DataFrame:
    """``count`` of the ``rows`` of `Results.pairs`: with the lowest scores, around the median, or with the highest.

    Mixes that hardly show one of their images are scored well without merit: they are not the best where there are
    others. Of equal scores the first pair counts.
    """
    scored = rows[rows["status"].eq("ok")]
    if place == "best":
        scored = _with_merit(scored)
    ordered = scored.sort_values(["inconsistency", "pair_id"], ascending=[place != "worst", True], kind="stable")
    start = max(0, (len(ordered) - count) // 2) if place == "median" else 0
    return ordered[start : start + count]


_ADVICE = (
    "Give back data, checkpoint and version of the run (gazeeval report can leave the pictures out with --no-gallery)."
)


def _chosen(rows: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """Place -> row. Of equal scores the first pair counts; of less than three pairs there are fewer places.

    A mix that hardly shows one of its images is scored well without merit: others are chosen where there are some.
    """
    ordered = _with_merit(rows[rows["status"].eq("ok")]).sort_values(["inconsistency", "pair_id"])
    places = {"best": 0, "worst": len(ordered) - 1, "median": (len(ordered) - 1) // 2}
    unique = {number: place for place, number in reversed(places.items())} if len(ordered) else {}
    return {place: ordered.iloc[number] for number, place in sorted(unique.items())}


def _with_merit(scored: pd.DataFrame) -> pd.DataFrame:
    """Those that show enough of both images; all where none does."""
    mixed = scored[scored["lam"].between(LEAST, 1 - LEAST)]
    return scored if mixed.empty else mixed


def _require_same(picture: PairPicture, row: pd.Series[Any], results: Results) -> None:
    now, was = [picture.inconsistency], [row["inconsistency"]]
    if len(picture.sides) == 2:
        now.append(picture.source.label)
        was.append(row["lam"])
    known = ~pd.isna(was)
    if not np.allclose(np.array(now)[known], np.array(was)[known].astype(float), rtol=0, atol=TOLERANCE):
        raise OtherMixesError(
            f"pictures: {results.folder}, method {picture.method}, pair {picture.pair_id}, got inconsistency and lam "
            f"{_listed(now)}, the run had {_listed(was)}. {_ADVICE}"
        )


def _listed(numbers: Sequence[float]) -> str:
    return " and ".join(f"{number:.4f}" for number in numbers)


def _bytes(drawn: Sequence[tuple[str, PairPicture, float]], side: int) -> int:
    return sum(len(tile.webp) for _, picture, _ in drawn for tile in tiles(picture, side))


def tiles(picture: PairPicture, side: int) -> Iterator[Tile]:
    for number, tile in enumerate(pictures.tiles(picture)):
        if tile is not None:
            kind = min(number, len(_TITLES) - 1)
            image = _bounded(tile.pixels, side)
            shares = list(_shares(tile.shares.tolist()))
            yield Tile(_webp(image), image.width, image.height, _TITLES[kind], tile.caption, _ALTS[kind], shares)


def _shares(shares: Sequence[float]) -> Iterator[Share]:
    start = 0.0
    for number, share in enumerate(shares):
        if math.isnan(share):
            return
        red, green, blue = COLOURS[number % len(COLOURS)]
        yield Share(round(start, 2), round(100 * share, 2), f"#{red:02x}{green:02x}{blue:02x}")
        start += 100 * share


def _bounded(pixels: Pixels, side: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _webp(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()
