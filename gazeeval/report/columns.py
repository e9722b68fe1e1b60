"""The columns of every file of a run, said once: for writing, for reading and for ``manifest.json``.

The tables below read: name, nullable pandas dtype (so that a value of any column may be missing), unit (``-`` for none,
``fraction`` is 0 to 1), meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Column:
    """One column: its name, nullable pandas dtype, unit ("" for none) and meaning in one sentence."""

    name: str
    dtype: str
    unit: str
    meaning: str


Columns = tuple[Column, ...]


def _table(text: str) -> Columns:
    rows = (line.split(maxsplit=3) for line in text.strip().splitlines())
    return tuple(Column(name, dtype, unit.strip("-"), meaning) for name, dtype, unit, meaning in rows)


_RUN = _table("""
run_id              string   -         fingerprint of everything that decides the rows
dataset             string   -         name of the data set
split               string   -         part of the data set
""")

_METHOD = _table("""
method              string   -         canonical method spec: its name and the parameters that are not at their default
""")

_PAIR = _table("""
pair_id             Int64    -         number of the pair, the same for all methods
group_id            Int64    -         group of images that the pair was made in
source_id           string   -         image that is pasted
target_id           string   -         image that is the canvas
""")

_MIX = _table("""
source_label        Int32    class     class index of the source
target_label        Int32    class     class index of the target
height              Int32    px        of the model input
width               Int32    px        of the model input
box_x0              Int32    px        left edge of the source's box in the mixed image; all box columns empty if no box
box_y0              Int32    px        top edge of that box
box_x1              Int32    px        right edge of that box, exclusive
box_y1              Int32    px        bottom edge of that box, exclusive
src_x0              Int32    px        left edge, in the source image, of what the box shows
src_y0              Int32    px        top edge, in the source image, of what the box shows
src_x1              Int32    px        right edge, in the source image, of what the box shows, exclusive
src_y1              Int32    px        bottom edge, in the source image, of what the box shows, exclusive
mask_kind           string   -         box, patches, binary, soft or none
mask_share          Float64  fraction  mean of the mask: share of the pixels (or of their intensity) from the source
lam_draw            Float64  fraction  first random draw as a share of the source; empty if there is none
lam                 Float64  fraction  label share of the SOURCE that the method would train with (timm reports 1 - lam)
lam_gaze            Float64  fraction  share of the visible gaze mass that comes from the source
delta               Float64  fraction  lam - lam_gaze
inconsistency       Float64  fraction  |lam - lam_gaze|; of more than two images half the sum of |label - gaze share|
gaze_kept_source    Float64  fraction  share of the source's gaze mass that is visible in the mixed image
gaze_kept_target    Float64  fraction  share of the target's gaze mass that is visible in the mixed image
n_fix_source        Int32    -         fixations (or raw samples) used of the source
n_fix_target        Int32    -         fixations (or raw samples) used of the target
n_images            Int32    -         images in the mix
p_source            Float32  fraction  softmax probability of the source's class on the mixed image
p_target            Float32  fraction  softmax probability of the target's class on the mixed image
""")

_ACCURACY = _table("""
acc1_weighted       Float64  fraction  lam * [pred1 is the source's class] + (1 - lam) * [pred1 is the target's class]
""")

_OUTCOME = _table("""
label_from          string   -         dataset or prediction: the class that gradients and class maps were taken for
status              string   -         ok, no_gaze, not_applicable (0 by construction), flat_map, nonfinite or failed
note                string   -         short reason for a status that is not ok, or what to know about the row
""")


def pair_columns(
    top_k: Sequence[int] = (1, 2, 5), *, metrics: Sequence[Column] = (), extras: Sequence[str] = ()
) -> Columns:
    """Columns of ``inconsistency.csv``, in order: one row per method and pair, methods in the order of the run.

    Args:
        top_k: the K of ``--top-k``; ``pred1 ... predK`` go up to the largest.
        metrics: columns of metrics beside the built-in ones, placed after ``acc1_weighted``.
        extras: names of a mixer's own columns, with their ``x_``, placed last.
    """
    predictions = (
        Column(f"pred{i}", "Int32", "class", f"predicted class, number {i} from the best")
        for i in range(1, max(top_k) + 1)
    )
    hits = (Column(name, "boolean", "", meaning) for name, meaning in _hits(top_k).items())
    fixed = (*_RUN, *_METHOD, *_PAIR, *_MIX)
    return (*fixed, *predictions, *hits, *_ACCURACY, *metrics, *_OUTCOME, *map(extra_column, extras))


def _hits(top_k: Sequence[int]) -> dict[str, str]:
    meanings = {
        "hit1_any": "the best class is one of the two labels",
        "hit1_main": "the best class is the label with the larger lam; empty for a tie",
        "hit2_both": "the two best classes are exactly the two labels; empty for pairs of one class",
    }
    for k in sorted(set(top_k) - {1}):
        meanings.setdefault(f"hit{k}_any", f"one of the {k} best classes is one of the two labels")
        meanings.setdefault(f"hit{k}_both", f"both labels are among the {k} best classes; empty for pairs of one class")
    return meanings


_EXTRA = _table("""
x_pair_inconsistency  Float64  fraction  |lam - lam_gaze|, of a mix of any number of images; empty if it shows one
x_label_elsewhere     Float64  fraction  share of the label that is on other images than source and target
""")


def extra_column(name: str) -> Column:
    """The column of a value that only some mixers have; ``name`` starts with ``x_``."""
    general = Column(name, "Float64", "", "value of its own that a mixer reports, see the mixer's documentation")
    return next((column for column in _EXTRA if column.name == name), general)


_GROUPS = _table("""
group_id            Int64    -         group of images that the pairs were made in
first_pair          Int64    -         smallest pair_id of the group
n                   Int64    pairs     pairs of the group
n_failed            Int64    pairs     those with status failed, flat_map or nonfinite
mean_inconsistency  Float64  fraction  over the pairs with status ok, like every gaze column of this file
median_inconsistency  Float64  fraction  median of inconsistency
p90_inconsistency   Float64  fraction  90th percentile of inconsistency
max_inconsistency   Float64  fraction  largest inconsistency
mean_delta          Float64  fraction  mean of delta: the bias
mean_lam            Float64  fraction  mean of lam
mean_lam_gaze       Float64  fraction  mean of lam_gaze
share_above_0_1     Float64  fraction  share of the pairs with an inconsistency above 0.1
hit1_any            Float64  fraction  mean of hit1_any over the pairs that did not fail
hit2_both           Float64  fraction  mean of hit2_both over the pairs that did not fail
""")

_SUMMARY = _table("""
metric              string   -         column of inconsistency.csv, without x_, or a statistic as inconsistency_rmse
subset              string   -         all, same_class, different_class or class=<class of the source>
n                   Int64    pairs     pairs that the estimate comes from
n_failed            Int64    pairs     pairs of the subset with status failed, flat_map or nonfinite
estimate            Float64  -         mean of the metric over its pairs, or the statistic that the metric names
se                  Float64  -         standard error of the estimate
ci_low              Float64  -         lower end of the interval
ci_high             Float64  -         upper end of the interval
ci_level            Float64  fraction  probability that the interval claims
ci_method           string   -         dyadic, pigeonhole or iid
ci_unit             string   -         what the interval takes as independent: image or pair
unit                string   -         unit of the estimate, its error and its interval
higher_is_better    boolean  -         empty where neither end is good
""")

_COMPARISONS = _table("""
metric              string   -         column of inconsistency.csv that is compared
method_a            string   -         first method
method_b            string   -         second method
n                   Int64    pairs     pairs that both methods have a value for; unpaired: of the method with fewer
diff                Float64  -         mean of a - b, in the unit of the metric
ci_low              Float64  -         lower end of its interval
ci_high             Float64  -         upper end of its interval
p_value             Float64  -         two-sided, of the test
p_adjusted          Float64  -         corrected for the number of comparisons
test                string   -         wilcoxon, dyadic t, or dyadic t, unpaired
adjust              string   -         the correction, holm
share_a_better      Float64  fraction  share of the pairs in which a is strictly better; empty if unpaired
n_excluded          Int64    pairs     pairs left out because a method has no value for them
se                  Float64  -         standard error of diff, dyadic cluster-robust
cohen_dz            Float64  -         mean over SD of the differences; empty if unpaired
rank_biserial       Float64  -         rank sums of the differences, (plus - minus) / both; empty if unpaired
mde                 Float64  -         smallest true difference that this design finds with a chance of 80 %
""")

_FAILURES = _table("""
stage               string   -         what was being done
exception           string   -         class of the error
message             string   -         its text
""")

_TIMING = _table("""
group_id            Int64    -         group of images
stage               string   -         read, transfer, gaze, signals, method or references
method              string   -         method of the stage; empty for work that all methods share
n                   Int64    pairs     pairs of the group
seconds             Float64  s         wall time
""")

FILES: dict[str, Columns] = {
    "inconsistency.csv": pair_columns(),
    "pairs.csv": (_PAIR[0], *_PAIR[2:]),
    "groups.csv": (_RUN[0], *_METHOD, *_GROUPS),
    "summary.csv": (*_RUN, *_METHOD, *_SUMMARY),
    "comparisons.csv": _COMPARISONS,
    "failures.csv": (*_METHOD, _PAIR[0], *_FAILURES),
    "timing.csv": _TIMING,
}


def describe(files: Mapping[str, Columns]) -> dict[str, list[dict[str, str]]]:
    """``columns`` of manifest.json: file name -> its columns as plain dicts."""
    return {file: [asdict(column) for column in columns] for file, columns in files.items()}


def from_description(description: Mapping[str, Iterable[Mapping[str, str]]]) -> dict[str, Columns]:
    """Back from :func:`describe`; keys that this version does not know are left out."""
    known = [field.name for field in fields(Column)]
    return {
        file: tuple(Column(*(column[name] for name in known)) for column in columns)
        for file, columns in description.items()
    }
