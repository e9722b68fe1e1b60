"""`gazeeval show`: look at the gaze on an image."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from gazeeval.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from gazeeval.data.dataset import Dataset


@click.command(short_help="draw an image with its gaze")
@click.option("-d", "--data", metavar="NAME|SPEC.yaml", required=True, help="Bundled spec, or the path of your own.")
@click.option("--root", metavar="DIR", type=click.Path(path_type=Path), help="Folder that holds the data set's files.")
@click.option(
    "--image", metavar="ID", required=True, help="Its path in the data set, or the end of it if only one has it."
)
@click.option("--placement", metavar="WORD", help="How images lay in the display frame, in place of the spec's.")
@click.option("--origin", metavar="WORD", help="Where gaze has (0, 0), in place of the spec's.")
@click.option(
    "--sigma",
    metavar="WIDTH",
    show_default="1deg where the data set has px_per_degree, else 3.5%",
    help="Width of a fixation: 9px of the network input, 3.5% of the original short side, or 1deg.",
)
@click.option("--input-size", metavar="N", type=click.IntRange(1), default=224, help="Side of the network input, px.")
@click.option(
    "--crop-pct",
    metavar="X",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.875,
    help="Share of the resized side that the crop keeps.",
)
@click.option("--geometry", type=click.Choice(["eval", "stretch"]), default="eval", help="Resize and crop, or stretch.")
@click.option("--numbers", is_flag=True, help="Number each viewer's fixations in order.")
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    show_default="<image>-gaze.png",
    help="Picture to write.",
)
def command(
    data: str,
    root: Path | None,
    image: str,
    placement: str | None,
    origin: str | None,
    sigma: str | None,
    input_size: int,
    crop_pct: float,
    geometry: str,
    numbers: bool,
    out: Path | None,
) -> None:
    """Draw an image of a data set with its fixations and their density, as stored and as the network gets it.

    To see that gaze sits where it should, before a run. Prints the name of the picture.

    \b
    gazeeval show -d cub-gha --root DATA --image Black_Footed_Albatross_0046_18.jpg -o sheet.png
    """
    from gazeeval.data.dataset import load_dataset
    from gazeeval.data.density import GazeRecipe, Sigma
    from gazeeval.data.geometry import Geometry
    from gazeeval.report.files import replacing
    from gazeeval.report.gaze_picture import draw_gaze

    width = Sigma.parse(sigma) if sigma else None
    size = input_size, input_size
    frame = (
        Geometry.stretch(*size, "bicubic") if geometry == "stretch" else Geometry.from_config(size, crop_pct, "bicubic")
    )
    dataset = load_dataset(data, root, placement=placement, origin=origin)
    row = _row(dataset, image)
    recipe = GazeRecipe(width or (Sigma(1, "deg") if dataset.px_per_degree else Sigma(3.5, "%")))
    target = out or Path(f"{PurePosixPath(dataset.image_ids[row]).stem}-gaze.png")
    page = draw_gaze(dataset, row, frame, recipe, numbers=numbers)
    try:
        with replacing(target) as stream:
            page.save(stream, "PNG")
    except OSError as error:
        raise UsageError(f"--out: {target}, cannot be written ({error.strerror}). Name a file in a folder.") from None
    click.echo(str(target))


def _row(dataset: Dataset, image: str) -> int:
    """The row of an id, or of the only id that ends with it."""
    ids = dataset.image_ids
    found = [row for row, name in enumerate(ids) if name == image] or [
        row for row, name in enumerate(ids) if f"/{name}".endswith(f"/{image}") or PurePosixPath(name).stem == image
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"--image: got {image!r}, which is {ids[found[0]]} and {ids[found[1]]}. Give the whole path.")
    raise DataError(
        f"--image: got {image!r}{did_you_mean(image, ids)}, not an image with gaze in {dataset.name}. "
        f"They are called as {ids[0]}."
    )
