"""Pictures of the pairs that a method does best, middling and worst, made again as the run made them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, NamedTuple

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
    run_id, was = results.manifest["run_id"], results.manifest["pairs"]["number"]
    if len(plan) != was:
        raise OtherMixesError(f"pictures: {results.folder}, got {len(plan)} pairs, the run had {was}. {_ADVICE}")
    tables = dict(iter(results.pairs.groupby("method", sort=False)))
    drawn = []
    for method in tqdm(engine.methods, desc="pictures", unit="method", disable=None if progress else True):
        chosen = _chosen(tables[method])
        found = _pictures(engine, plan, method, chosen) if len(chosen) else {}
        for place, row in chosen.items():
            if picture := found.get(int(row["pair_id"])):
                _require_same(picture, row, results)
                drawn.append((str(place), picture, float(row["inconsistency"])))
    side = next((side for side in _SIDES if _bytes(drawn, side) <= BUDGET), _SIDES[-1])
    return [
        Example(run_id, picture.method, place, picture.pair_id, score, list(tiles(picture, side)))
        for place, picture, score in drawn
    ]


_ADVICE = "Give back data, checkpoint and version of the run, or leave the pictures out with --no-gallery"


def _chosen(rows: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """Place -> row. Of equal scores the first pair counts; of less than three pairs there are fewer places.

    A mix that hardly shows one of its images is scored well without merit: others are chosen where there are some.
    """
    scored = rows[rows["status"].eq("ok")]
    mixed = scored[scored["lam"].between(LEAST, 1 - LEAST)]
    ordered = (scored if mixed.empty else mixed).sort_values(["inconsistency", "pair_id"])
    places = {"best": 0, "worst": len(ordered) - 1, "median": (len(ordered) - 1) // 2}
    unique = {number: place for place, number in reversed(places.items())} if len(ordered) else {}
    return {place: ordered.iloc[number] for number, place in sorted(unique.items())}


def _pictures(engine: Engine, plan: PairPlan, method: str, chosen: dict[str, pd.Series[Any]]) -> dict[int, PairPicture]:
    """Number of the pair -> its picture; without those that cannot be read any more."""
    alone = replace(engine, methods={method: engine.methods[method]})
    ids = np.array(sorted({int(row["pair_id"]) for row in chosen.values()}), dtype=np.int64)
    return {pair: row for pair, rows in pair_pictures(alone, plan, ids) for row in rows}


def _require_same(picture: PairPicture, row: pd.Series[Any], results: Results) -> None:
    label, gaze = (np.array([getattr(side, name) for side in picture.sides]) for name in ("label", "gaze"))
    now, was = [float(np.abs(label - gaze).sum() / 2)], [float(row["inconsistency"])]
    if len(picture.sides) == 2:
        now.append(float(label[0]))
        was.append(float(row["lam"]))
    if not np.allclose(now, was, rtol=0, atol=TOLERANCE):
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
