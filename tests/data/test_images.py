"""Image lists in three layouts, sizes from headers, pixels as RGB."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeeval.data.images import list_images
from gazeeval.data.pictures import read_image, read_size
from gazeeval.data.spec import CsvImages, CubImages, FolderImages
from gazeeval.errors import DataError, ImageError

CUB = CubImages(layout="cub")


def save(path: Path, size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def test_cub_lists_give_ids_labels_splits_and_sizes_in_file_order(cub_root: Path) -> None:
    index, notes = list_images(CUB, cub_root)
    assert index.ids[:2] == ("001.Ani/a.png", "001.Ani/b.png")
    assert index.labels.tolist() == [0, 0, 1, 1]
    assert index.class_names == ("001.Ani", "002.Wren", "003.Tern")
    assert index.splits == ("train", "test", "train", "test")
    assert index.numbers.tolist() == [1, 2, 3, 4]
    assert index.sizes.tolist() == [[40, 30], [30, 40], [24, 24], [50, 20]]
    assert notes == []


def test_cub_numbers_need_not_be_consecutive(cub_root: Path) -> None:
    folder = cub_root / "CUB_200_2011"
    (folder / "images.txt").write_text("30 002.Wren/c.png\n\n10 001.Ani/a.png\n")
    (folder / "image_class_labels.txt").write_text("10 1\n30 2\n")
    (folder / "train_test_split.txt").unlink()
    index, _ = list_images(CUB, cub_root)
    assert index.numbers.tolist() == [30, 10]
    assert index.labels.tolist() == [1, 0]
    assert index.splits == ("", "")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("images.txt", "1 a.png\ntwo b.png\n", r"images\.txt:2, got 'two b\.png'\. Expected a new number"),
        ("images.txt", "1 a.png\n1 b.png\n", r"images\.txt:2, got '1 b\.png'"),
        ("images.txt", "", r"images\.txt, found none"),
        ("image_class_labels.txt", "1 1\n2 1\n3 9\n4 2\n", r"image_class_labels\.txt: image 3 .*, got '9'"),
        ("image_class_labels.txt", "1 1\n", r"image 2 \(001\.Ani/b\.png\), got ''"),
    ],
)
def test_a_malformed_cub_list_is_named_with_its_line(cub_root: Path, file: str, text: str, message: str) -> None:
    (cub_root / "CUB_200_2011" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        list_images(CUB, cub_root)


def test_a_list_that_is_not_text_or_not_there(cub_root: Path) -> None:
    classes = cub_root / "CUB_200_2011" / "classes.txt"
    classes.write_bytes(b"1 \xff\xfe")
    with pytest.raises(DataError, match=r"classes\.txt, got bytes that are not UTF-8"):
        list_images(CUB, cub_root)
    classes.unlink()
    with pytest.raises(DataError, match=r"classes\.txt, No such file"):
        list_images(CUB, cub_root)


def test_folders_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    for name in ("10/b.png", "2/z.PNG", "2/deep/y.jpg", "2/notes.txt", "2/._z.png", "1/a.png"):
        save(tmp_path / name) if name[-3:] != "txt" else (tmp_path / name).write_text("no image")
    index, _ = list_images(FolderImages(layout="folders"), tmp_path)
    assert index.class_names == ("1", "10", "2")
    assert index.ids == ("1/a.png", "10/b.png", "2/deep/y.jpg", "2/z.PNG")
    assert index.labels.tolist() == [0, 1, 2, 2]


def test_folders_by_number_in_splits(tmp_path: Path) -> None:
    for name in ("train/10/b.png", "train/2/c.png", "val/2/c.png", "val/7/d.png"):
        save(tmp_path / "pictures" / name)
    layout = FolderImages(layout="folders", path="pictures", splits=("train", "val"), class_order="number")
    index, _ = list_images(layout, tmp_path)
    assert index.class_names == ("2", "7", "10")
    assert index.ids == ("train/2/c.png", "train/10/b.png", "val/2/c.png", "val/7/d.png")
    assert index.labels.tolist() == [0, 2, 0, 1]
    assert index.splits == ("train", "train", "val", "val")


def test_listed_classes_keep_their_labels_where_some_have_no_images(tmp_path: Path) -> None:
    save(tmp_path / "dog" / "a.png")
    index, _ = list_images(FolderImages(layout="folders", classes=("cat", "dog")), tmp_path)
    assert (index.labels.tolist(), index.class_names) == ([1], ("cat", "dog"))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (FolderImages(layout="folders", class_order="number"), "cat, got a name that is not a number"),
        (FolderImages(layout="folders", splits=("train",)), "train, no such folder"),
        (FolderImages(layout="folders", path="cat"), "found none"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, layout: FolderImages, message: str) -> None:
    save(tmp_path / "cat" / "a.png")
    with pytest.raises(DataError, match=message):
        list_images(layout, tmp_path)


def test_a_table_lists_images_labels_and_splits(tmp_path: Path) -> None:
    for name in ("000005.png", "None.png"):
        save(tmp_path / "files" / name)
    (tmp_path / "list.csv").write_text(
        "\ufefffile;class;part\nNone.png;10;test\n000005.png;9;train\n", encoding="utf-8"
    )
    layout = CsvImages(
        layout="csv", index="list.csv", path="files", image="file", label="class", split="part", delimiter=";"
    )
    index, _ = list_images(layout, tmp_path)
    assert index.ids == ("None.png", "000005.png")
    assert index.class_names == ("9", "10")
    assert index.labels.tolist() == [1, 0]
    assert index.splits == ("test", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("img,label\na.png,x\n", r"list\.csv:1, got columns img, label\. Column 'image' is missing"),
        ("image,lable\na.png,x\n", r"Column 'label' is missing \(did you mean 'lable'\?\)"),
        ("image,label\na.png,x\na.png,x\n", r"list\.csv, got 'a\.png' more than once"),
        ("image,label\na.png\n", r"list\.csv:2, got ''"),
        ("image,label\n", r"list\.csv, found none"),
        ("", r"list\.csv:1, got columns \. Column"),
        ("label,image\nx\n", r"list\.csv:2, got no image"),
        ("image,image,label\na,b,x\n", r"Column 'image' stands twice"),
        ('image,label\n"a.png,x\n' + "b.png,x\n" * 20_000, r"list\.csv:\d+, got field larger than .*Check the quotes"),
        (f"image,label\na.png,{'9' * 5000}\n", r"a\.png, no such file"),
        (f"image,label\n{'a' * 5000},x\n", "no such file"),
    ],
)
def test_a_table_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        list_images(CsvImages(layout="csv", index="list.csv"), tmp_path)


def test_missing_files_are_left_out_and_broken_ones_stay_in_with_a_note(cub_root: Path) -> None:
    images = cub_root / "CUB_200_2011" / "images"
    (images / "001.Ani/a.png").unlink()
    (images / "002.Wren/c.png").write_text("no image")
    index, notes = list_images(CUB, cub_root)
    assert index.numbers.tolist() == [2, 3, 4]
    assert index.sized.tolist() == [True, False, True]
    assert index.sizes.tolist() == [[30, 40], [40, 30], [50, 20]]  # the unknown one gets the median
    assert [note.partition(" (")[0] for note in notes] == [
        "no file for 1 of 4 images of images.txt",
        "cannot decode 1 of 3 images",
    ]


def test_no_usable_image_is_an_error(cub_root: Path) -> None:
    files = sorted((cub_root / "CUB_200_2011" / "images").rglob("*.png"))
    for path in files:
        path.write_text("no image")
    with pytest.raises(DataError, match="nor can any other"):
        list_images(CUB, cub_root)
    for path in files:
        path.unlink()
    with pytest.raises(DataError, match=r"a\.png, no such file, nor any other of images\.txt"):
        list_images(CUB, cub_root)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I", "I;16"])
def test_every_mode_becomes_8_bit_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.linspace(0, 255, 64 * 64).round().reshape(64, 64).astype(np.uint8)
    path = tmp_path / "image.tif"
    if mode.startswith("I"):
        wide = grey.astype(np.uint16 if mode == "I;16" else np.int32) * 257
        Image.fromarray(wide).save(path)
    else:
        grey = grey if mode != "1" else (grey > 127).astype(np.uint8) * 255
        Image.fromarray(grey).convert(mode).save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - grey[:, :, None]).max() <= 1


def test_a_palette_with_byte_transparency_is_read_quietly(tmp_path: Path) -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([255, 0]))
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_holds_for_size_and_pixels_alike(tmp_path: Path, orientation: int, suffix: str) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255  # a mark in the stored upper left corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    shown = np.asarray(read_image(path))[..., 0] > 128
    height, width = (32, 16) if orientation >= 5 else (16, 32)
    assert shown.shape == (height, width)
    assert read_size(path) == (width, height)
    stored = (width, height) if suffix == "tif" else (32, 16)
    assert (read_image(path, "ignore").size, read_size(path, "ignore")) == (stored, stored)
    # where the EXIF standard puts the stored first row and first column
    bottom, right = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[
        orientation
    ]
    assert shown[-1 if bottom else 0, -1 if right else 0]
    assert shown.sum() == 64


@pytest.mark.parametrize("case", ["missing", "text", "empty", "truncated", "floats", "folder", "pipe", "script"])
def test_what_is_no_image_is_an_image_error_naming_the_file(tmp_path: Path, case: str) -> None:
    path = tmp_path / "broken.tif"
    match case:
        case "text":
            path.write_text("no image")
        case "empty":
            path.touch()
        case "truncated":
            Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
            data = (tmp_path / "whole.png").read_bytes()
            path.write_bytes(data[: len(data) // 2])
        case "floats":
            Image.new("F", (4, 4)).save(path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "script":  # Pillow would have Ghostscript run it
            path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match=r"^image: .*broken\.tif, "):
        read_image(path)


def test_a_decompression_bomb_is_an_image_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "bomb.png", (100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"bomb\.png, cannot be decoded: DecompressionBombError"):
        read_image(tmp_path / "bomb.png")
    with pytest.raises(ImageError, match=r"bomb\.png"):
        read_size(tmp_path / "bomb.png")
