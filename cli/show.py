"""`gazeeval show`: look at pairs of a run, at the mixes of any two images, or at the gaze on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from gazeeval.config import RunConfig, flag
from gazeeval.errors import DataError, GazeEvalError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from gazeeval.data.dataset import Dataset
    from gazeeval.data.pairs import PairPlan
    from gazeeval.engine import Engine
    from gazeeval.job import Job
    from gazeeval.report.files import Results
    from gazeeval.report.gallery import Place
    from gazeeval.report.pictures import PairPicture

MOVABLE = ("data", "root", "model", "arch", "attention_model", "attention_arch", "device")
"""Options that may be others than those of a run."""

MOST = click.IntRange(1, 100)


@click.command(short_help="draw pairs with their mixes, or the gaze on an image")
@click.argument("run", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--worst", metavar="N", type=MOST, help="Of RUN: the N mixes of highest inconsistency, of all methods or of -m."
)
@click.option("--best", metavar="N", type=MOST, help="Of lowest, but for mixes that hardly show one of their images.")
@click.option("--median", metavar="N", type=MOST, help="Around the median.")
@click.option("--pair", metavar="N|A,B", help="Number of a pair of RUN; or, without RUN, the ids of source and target.")
@click.option("--image", metavar="ID", help="One image with its gaze, as stored and as the network gets it.")
@click.option(
    "-m",
    "--method",
    metavar="SPEC",
    multiple=True,
    show_default="all of RUN, or all that work with the network",
    help="Method to draw; repeat for several.",
)
@click.option(
    "--layout",
    type=click.Choice(["rows", "grid"]),
    show_default="grid for a pair under several methods",
    help="A row per mix with its two images and its mask, or all mixes as one contact sheet.",
)
@click.option(
    "-d", "--data", metavar="NAME|SPEC.yaml", show_default="demo", help="Bundled spec, or the path of your own."
)
@click.option("--root", metavar="DIR", help="Folder that holds the data set's files.")
@click.option("--placement", metavar="WORD", help="How images lay in the display frame, in place of the spec's.")
@click.option("--origin", metavar="WORD", help="Where gaze has (0, 0), in place of the spec's.")
@click.option(
    "--sigma",
    metavar="WIDTH",
    show_default="1deg where the data set has px_per_degree, else 3.5%",
    help="Width of a fixation: 9px of the network input, 3.5% of the original short side, or 1deg.",
)
@click.option("--model", metavar="PATH|NAME", show_default="demo for the demo data, else none", help="Network.")
@click.option("--arch", metavar="NAME", help="timm's name of its architecture, if the checkpoint does not say it.")
@click.option("--attention-model", metavar="PATH|NAME", help="Another one, for what methods ask about attention.")
@click.option("--attention-arch", metavar="NAME", help="Its architecture, likewise.")
@click.option(
    "--input-size", metavar="N", show_default="the network's, else 224", help="Side of the network input, px."
)
@click.option(
    "--crop-pct", metavar="X", show_default="the network's, else 0.875", help="Share of the resized side that is kept."
)
@click.option("--geometry", type=click.Choice(["eval", "stretch"]), default="eval", help="Resize and crop, or stretch.")
@click.option("--seed", metavar="N", default="0", help="Without RUN: of the draws, which are those of pair 0 of a run.")
@click.option("--device", metavar="NAME", default="auto", help="That mixes: auto, cpu, cuda, cuda:1, mps.")
@click.option("--numbers", is_flag=True, help="With --image: number each viewer's fixations in order.")
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    show_default="RUN/images/worst-16.png and so on, <A>-<B>.png, <image>-gaze.png",
    help="Picture to write.",
)
def command(
    run: Path | None,
    worst: int | None,
    best: int | None,
    median: int | None,
    pair: str | None,
    image: str | None,
    method: tuple[str, ...],
    layout: str | None,
    numbers: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Draw pairs of a finished RUN, the mixes of any two images, or the gaze on one. Prints the picture's name.

    The mixes of RUN are its own, made again with its data, network, seed and gaze recipe, and checked against its
    scores. Where data or network have moved, say where they are with --root, --data or --model.

    \b
    gazeeval show RUN --worst 16 -m cutmix
    gazeeval show RUN --pair 17 -o sheet.png
    gazeeval show -m cutmix -m saliencymix --pair star_02,cross_05
    gazeeval show -d cub-gha --root DATA --image Black_Footed_Albatross_0046_18.jpg
    """
    what, value = _asked(run, {"worst": worst, "best": best, "median": median, "pair": pair, "image": image})
    given = {name: value for name, value in options.items() if _is_given(name)}
    if what == "image":
        page, usual = _gaze(RunConfig.of(given, flag), value, numbers)
    else:
        rows, title, usual = (
            _of_run(run, _moved(given), method, what, value)
            if run
            else _of_images(RunConfig.of(given, flag), method, value)
        )
        page = _page(rows, title, layout)
    _save(page, out, usual)


def _asked(run: Path | None, options: Mapping[str, Any]) -> tuple[str, Any]:
    """The one option that says what is drawn, and its value."""
    asked = [name for name, value in options.items() if value is not None]
    allowed = [name for name in options if name != "image"] if run else ["pair", "image"]
    if len(asked) != 1 or asked[0] not in allowed:
        got = " and ".join(map(flag, asked)) or "nothing to draw"
        raise UsageError(
            f"show: got {got} {f'of {run}' if run else 'without a run folder'}. "
            f"Give one of {', '.join(map(flag, allowed))}{'' if run else ', or a run folder'}."
        )
    return asked[0], options[asked[0]]


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def _moved(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that may differ from those of a run."""
    for name, value in given.items():
        if name not in MOVABLE:
            raise UsageError(f"{flag(name)}: got {value} with a run folder, which has its own. Leave it out.")
    return given


def _gaze(config: RunConfig, image: str, numbers: bool) -> tuple[Image.Image, Path]:
    from gazeeval.report.gaze_picture import draw_gaze
    from gazeeval.setting import prepare_setting

    setting = prepare_setting(config)
    row = _row(setting.dataset, "--image", image)
    page = draw_gaze(setting.dataset, row, setting.geometry, setting.recipe, numbers=numbers)
    return page, Path(f"{_stem(setting.dataset, row)}-gaze.png")


def _of_images(config: RunConfig, specs: Sequence[str], pair: str) -> tuple[list[PairPicture], str, Path]:
    """The mixes of two images, as of pair 0 of a run, the title of their page and its name."""
    import numpy as np

    from gazeeval.data.pairs import PairPlan
    from gazeeval.engine import Engine
    from gazeeval.mixers.base import MIXERS
    from gazeeval.setting import prepare_setting

    names = [name.strip() for name in pair.split(",")]
    if len(names) != 2:
        raise UsageError(f"--pair: got {pair!r} without a run folder. Give two images, as SOURCE,TARGET.")
    setting = prepare_setting(config)
    dataset = setting.dataset
    source, target = rows = [_row(dataset, "--pair", name) for name in names]
    if source == target:
        raise UsageError(f"--pair: got {dataset.image_ids[source]} twice. Give two images.")
    for row in rows:
        dataset.read_image(row)  # a pair that cannot be read would be left out silently
    engine = Engine(
        dataset,
        {},
        setting.recipe,
        setting.geometry,
        setting.device,
        networks=setting.networks,
        seed=config.seed,
    )
    plan = PairPlan(np.array([source]), np.array([target]), np.zeros(1, np.int64), "file")
    drawn, left_out = [], []
    for spec in specs or MIXERS:
        try:
            drawn.append(_mix(engine, plan, spec))
        except UsageError:
            if specs:
                raise
            left_out.append(spec)
    if left_out:
        click.echo(f"note: without {', '.join(left_out)}; -m {left_out[0]} says what it needs", err=True)
    return drawn, dataset.name, Path(f"{_stem(dataset, source)}-{_stem(dataset, target)}.png")


def _mix(engine: Engine, plan: PairPlan, spec: str) -> PairPicture:
    from gazeeval.mixers.base import FeatureMixer, canonical_name, parse_method
    from gazeeval.report.pictures import pair_pictures

    mixer = parse_method(spec)
    if isinstance(mixer, FeatureMixer):
        raise UsageError(f"--method: got {spec}, which mixes inside a network: there is no mixed image. Leave it out.")
    alone = replace(engine, methods={canonical_name(mixer): mixer})
    ((_, (picture,)),) = pair_pictures(alone, plan, plan.group)
    return picture


def _of_run(
    folder: Path, moved: Mapping[str, Any], methods: Sequence[str], what: str, value: Any
) -> tuple[list[PairPicture], str, Path]:
    """Mixes of a run, made again, the title of their page and its name."""
    from gazeeval.report.finish import finish
    from gazeeval.report.gallery import redraw, select

    results = finish(folder)
    specs = dict(zip(results.manifest["methods"], results.manifest["config"]["method"], strict=True))
    for name in methods:
        if name not in specs:
            known = ", ".join(specs)
            raise UsageError(f"--method: got {name!r}{did_you_mean(name, specs)}. Methods of {folder}: {known}.")
    rows = results.pairs[results.pairs["method"].isin(methods or specs)]
    rows = _of_pair(rows, value) if what == "pair" else select(rows, cast("Place", what), value)
    found = {}
    if len(rows):
        job = _prepared(results, {**moved, "method": [specs[name] for name in rows["method"].unique()]})
        found = redraw(results, job.engine, job.plan, rows, progress=True)
    keys = list(zip(rows["method"], rows["pair_id"], strict=True))
    drawn = [found[key] for key in keys if key in found]
    if not drawn:
        raise DataError(f"{flag(what)}: {folder}, got {value}, of which there is no mixed image. Ask for another.")
    for method, number in keys:
        if (method, number) not in found:
            click.echo(f"note: without {method}, pair {number}: it has no mixed image", err=True)
    title = f"{results.manifest['data']['name']}, {what} {value} of {folder.resolve().name}"
    return drawn, title, folder / "images" / f"{what}-{value}.png"


def _of_pair(rows: pd.DataFrame, text: str) -> pd.DataFrame:
    """Those of the pair with this number that may be drawn."""
    count = rows["pair_id"].nunique()
    try:
        chosen = rows[rows["pair_id"].eq(int(text))]
    except ValueError:
        chosen = rows[:0]
    if chosen.empty:
        raise UsageError(
            f"--pair: got {text!r} with a run folder. Give the number of one of its {count} pairs, from 0."
        )
    return chosen[~chosen["status"].isin(["failed", "nonfinite", "flat_map"])]


def _prepared(results: Results, options: Mapping[str, Any]) -> Job:
    """The run, ready to be made again."""
    from gazeeval.job import prepare

    try:
        return prepare(RunConfig.of({**results.manifest["config"], **options}))
    except GazeEvalError as error:
        raise UsageError(
            f"{results.folder}: its mixes cannot be made again: {error} "
            "If data or network have moved, say where with --root, --data or --model."
        ) from error


def _page(rows: Sequence[PairPicture], title: str, layout: str | None) -> Image.Image:
    from PIL import Image

    from gazeeval.report.pictures import pair_sheet
    from gazeeval.report.sheet import contact_sheet

    one_pair = len(rows) > 1 and len({row.pair_id for row in rows}) == 1
    draw = contact_sheet if (layout or ("grid" if one_pair else "rows")) == "grid" else pair_sheet
    return Image.fromarray(draw(rows, title))


def _save(page: Image.Image, out: Path | None, usual: Path) -> None:
    """Write the picture as ``out``, else under its ``usual`` name."""
    from gazeeval.report.files import replacing

    target = out or usual
    try:
        if out is None:
            usual.parent.mkdir(exist_ok=True)
        with replacing(target) as stream:
            page.save(stream, "PNG", optimize=True)
    except OSError as error:
        raise UsageError(f"--out: {target}, cannot be written ({error.strerror}). Name a file in a folder.") from None
    click.echo(str(target))


def _stem(dataset: Dataset, row: int) -> str:
    return PurePosixPath(dataset.image_ids[row]).stem


def _row(dataset: Dataset, option: str, image: str) -> int:
    """The row of an id, or of the only id that ends with it."""
    ids = dataset.image_ids
    found = [row for row, name in enumerate(ids) if name == image] or [
        row for row, name in enumerate(ids) if f"/{name}".endswith(f"/{image}") or PurePosixPath(name).stem == image
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{option}: got {image!r}, which is {ids[found[0]]} and {ids[found[1]]}. Give the whole path.")
    near = did_you_mean(image, ids) or did_you_mean(image, (PurePosixPath(name).stem for name in ids))
    raise DataError(
        f"{option}: got {image!r}{near}, not an image with gaze in {dataset.name}. They are called as {ids[0]}."
    )
