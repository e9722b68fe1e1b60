"""Which images are mixed with which: groups of images, and the pairs inside them.

In each round the images are permuted by the seed and cut into groups; pairs are made inside a group, so that an image
is read once per round and methods that look at a whole group see the same one on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gazeeval.data.cover import assignment, greedy_cycle
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError, did_you_mean

Pairing = Literal["matching", "cycle", "greedy", "optimal"]
LabelRule = Literal["different", "any", "same"]
Indices = NDArray[np.int64]
Distances = Callable[[Indices], NDArray[np.float64]]
"""(m,) rows of the data set -> (m, m), how far apart these images are."""

_COVERS = {"greedy": greedy_cycle, "optimal": assignment}


_ROWS = 50_000  # of a pair file that are written at once


@dataclass(frozen=True)
class PairPlan:
    """The pairs of a run, ordered by group.

    Attributes:
        source, target: (m,) rows of the data set.
        group: (m,) number of the group of images, ascending.
        pairing: how they were made.
        rounds: times that the images were permuted.
        unpaired: images, summed over the groups, that found no partner in their group.
    """

    source: Indices
    target: Indices
    group: Indices
    pairing: str
    rounds: int = 1
    unpaired: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def first(self, count: int | None) -> PairPlan:
        """The first ``count`` pairs; None: all."""
        keep = slice(count)
        return replace(self, source=self.source[keep], target=self.target[keep], group=self.group[keep])

    def groups(self) -> Iterator[slice]:
        """The pairs of one group after the other, as slices of the plan."""
        starts = np.flatnonzero(np.diff(self.group, prepend=-1))
        for first, last in zip(starts, [*starts[1:], len(self)], strict=True):
            yield slice(int(first), int(last))


def plan_pairs(
    labels: Indices,
    num_pairs: int | None = None,
    *,
    pairing: Pairing = "matching",
    label_rule: LabelRule = "different",
    group_size: int = 64,
    seed: int = 0,
    distances: Distances | None = None,
) -> PairPlan:
    """Make pairs of images with the given ``labels`` (n,).

    Args:
        num_pairs: how many; further rounds are taken as needed. None: one round.
        pairing: ``matching`` uses every image in one pair of a round, so that the pairs of one round are independent;
            ``cycle`` uses every image once as source and once as target; so do ``greedy`` and ``optimal``, which seek
            partners that are far apart (`gazeeval.data.cover`).
        label_rule: ``different`` (a label share between two images of one class has no meaning), ``any`` or ``same``.
        group_size: images per group.
        distances: asked about each group, for ``greedy`` and ``optimal``.

    Raises:
        UsageError: no pair can be made, or the arguments make no sense.
    """
    if num_pairs is not None and num_pairs < 1:
        raise UsageError(f"--num-pairs: number of pairs, got {num_pairs}. Give at least 1.")
    if group_size < 2:
        raise UsageError(f"--group-size: images per group, got {group_size}. Give at least 2.")
    if pairing in _COVERS and distances is None:
        raise UsageError(f"pairing {pairing}: distances, got none. Pass a function of rows, or use another pairing.")
    parts: list[tuple[Indices, Indices, Indices]] = []
    made = rounds = groups = unpaired = 0
    while made == 0 or (num_pairs is not None and made < num_pairs):
        order = PairRng(seed, "pairs", [rounds]).permutation("round", len(labels))[0]
        made_before = made
        for start in range(0, len(order), group_size):
            if num_pairs is not None and made >= num_pairs:
                break  # distances may cost a look at every image
            members = order[start : start + group_size]
            source, target = _pair_group(members, labels, pairing, label_rule, distances)
            parts.append((source, target, np.full(len(source), groups)))
            made += len(source)
            unpaired += len(members) - len(np.union1d(source, target))
            groups += 1
        rounds += 1
        if made == made_before:
            raise UsageError(
                f"pairs: images with {label_rule} labels, got {len(labels)} images of "
                f"{len(np.unique(labels))} classes and no pair. Use --labels any, or a data set with more classes."
            )
    source, target, group = (np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True))
    return PairPlan(source, target, group, pairing, rounds, unpaired).first(num_pairs)


def read_pair_file(path: Path, image_ids: tuple[str, ...], group_size: int = 64) -> PairPlan:
    """Pairs from a CSV file with the columns ``source_id, target_id`` (others are ignored), in its order.

    A group takes consecutive pairs as long as they need at most ``group_size`` images.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"--pair-file: {path}, cannot be read: {why}. Give a CSV file of pairs.") from error
    for column in ("source_id", "target_id"):
        if column not in table:
            near = did_you_mean(column, list(table.columns))
            raise UsageError(f"--pair-file: {path}: column {column!r} is missing{near}, got {list(table.columns)}.")
    row_of = {image: row for row, image in enumerate(image_ids)}
    rows = table[["source_id", "target_id"]].apply(lambda column: column.map(row_of))
    unknown = np.flatnonzero(rows.isna().any(axis=1))
    if len(unknown):
        line = int(unknown[0])
        raise UsageError(
            f"--pair-file: {path}:{line + 2}: image that the data set (split) lacks, got "
            f"{table[['source_id', 'target_id']].iloc[line].tolist()} ({len(unknown)} such pairs). "
            "Use ids of the data set."
        )
    if not len(rows):
        raise UsageError(f"--pair-file: {path}: pairs, got none. Give at least one.")
    source, target = (rows[column].to_numpy(dtype=np.int64) for column in ("source_id", "target_id"))
    return PairPlan(source, target, _pack(source, target, group_size), "file")


def write_pair_file(path: Path, plan: PairPlan, image_ids: tuple[str, ...]) -> None:
    """Write ``pair_id, source_id, target_id``, readable by `read_pair_file`."""
    ids = np.asarray(image_ids, dtype=object)
    with path.open("w", encoding="utf-8", newline="") as stream:
        for start in range(0, len(plan), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(plan)))
            columns = {"pair_id": rows, "source_id": ids[plan.source[rows]], "target_id": ids[plan.target[rows]]}
            pd.DataFrame(columns).to_csv(stream, index=False, header=start == 0, lineterminator="\n")


def _pair_group(
    members: Indices, labels: Indices, pairing: Pairing, rule: LabelRule, distances: Distances | None
) -> tuple[Indices, Indices]:
    if rule == "same":
        classes = [members[labels[members] == label] for label in np.unique(labels[members])]
        pairs = [_pair_group(of_class, labels, pairing, "any", distances) for of_class in classes]
        return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    if pairing in _COVERS and distances is not None:
        partner = _COVERS[pairing](distances(members), labels[members] if rule == "different" else None)
        paired = partner >= 0
        return members[partner[paired]], members[paired]
    half = len(members) // 2
    if pairing == "cycle":
        source, target = members, np.roll(members, -1)
    else:
        source, target = members[:half], members[half : 2 * half]
    if rule == "different":
        target = _swap_until_labels_differ(labels[source], labels[target], target)
        keep = labels[source] != labels[target]
    else:
        keep = source != target
    return source[keep], target[keep]


def _swap_until_labels_differ(source_label: Indices, target_label: Indices, target: Indices) -> Indices:
    """Exchange the targets of pairs so that as few pairs as possible share a label.

    A pair of one label can be mended unless every other pair holds that label too, that is, unless more than half of
    the images have it.
    """
    target, target_label = target.copy(), target_label.copy()
    for i in np.flatnonzero(source_label == target_label):
        if source_label[i] != target_label[i]:  # mended by an earlier exchange
            continue
        free = np.flatnonzero((source_label != target_label[i]) & (target_label != source_label[i]))
        if len(free):
            j = free[np.searchsorted(free, i) % len(free)]
            target[[i, j]], target_label[[i, j]] = target[[j, i]], target_label[[j, i]]
    return target


def _pack(source: Indices, target: Indices, group_size: int) -> Indices:
    group = np.empty(len(source), dtype=np.int64)
    number, images = 0, set[int]()
    for row, pair in enumerate(zip(source.tolist(), target.tolist(), strict=True)):
        if images and len(images | set(pair)) > group_size:
            number, images = number + 1, set()
        images |= set(pair)
        group[row] = number
    return group
