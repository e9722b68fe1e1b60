"""`ge.agreement`: the folder that it leaves, and what stops it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gazeeval as ge
from gazeeval.errors import UsageError
from gazeeval.gaze_agreement.run import AgreementResults, read_agreement
from gazeeval.gaze_agreement.tables import FILES


@pytest.fixture(scope="module")
def arrays() -> ge.Dataset:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (70, 24, 24, 3), dtype=np.uint8)
    gaze = {"image": np.repeat(np.arange(70), 4), "viewer": [0, 0, 1, 1] * 70, "x": rng.uniform(0, 24, 280)}
    return ge.Dataset.from_arrays(list(pictures), np.arange(70) % 2, gaze | {"y": rng.uniform(0, 24, 280)}, ["a", "b"])


@pytest.fixture(scope="module")
def done(arrays: ge.Dataset, tmp_path_factory: pytest.TempPathFactory) -> AgreementResults:
    out = tmp_path_factory.mktemp("agreement") / "run"
    return ge.agreement(["spectral_residual", "fine_grained"], data=arrays, input_size=24, sigma="2px", out=out)


def test_the_folder_says_what_was_scored_on_what(done: AgreementResults) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert names == {*FILES, "config.yaml", "manifest.json", "run.log"}
    assert done.manifest["status"] == "complete"
    assert list(done.manifest["maps"]) == ["spectral_residual", "fine_grained"]
    assert done.manifest["signature"]["gaze"].startswith("sigma=2px")
    assert "data arrays (70 images, 280 fixations)" in (done.folder / "run.log").read_text()


def test_rows_are_ordered_by_map_and_image(done: AgreementResults) -> None:
    maps = ["spectral_residual", "fine_grained", "ref:centre", "ref:viewer"]
    assert done.images["map"].tolist() == [name for name in maps for _ in range(70)]
    assert done.images["image_id"].tolist() == [f"{row:06d}" for row in range(70)] * 4
    assert done.summary.drop_duplicates("map")["map"].tolist() == maps


def test_the_files_have_the_stated_columns_and_read_back(done: AgreementResults) -> None:
    for name, columns in FILES.items():
        header = (done.folder / name).read_text().partition("\n")[0].split(",")
        assert header == [column.name for column in columns]
        assert header == [column["name"] for column in done.manifest["columns"][name]]
    again = read_agreement(done.folder)
    pd.testing.assert_frame_equal(again.images, done.images)
    assert done.images["image_id"].iloc[3] == "000003"


def test_the_summary_is_that_of_the_rows(done: AgreementResults) -> None:
    means = done.images.groupby("map", sort=False)["auc"].mean()
    found = done.summary[done.summary["metric"] == "auc"].set_index("map")["estimate"]
    np.testing.assert_allclose(found.astype(float), means.astype(float), rtol=1e-8)


def test_the_same_call_gives_the_same_bytes(done: AgreementResults, arrays: ge.Dataset, tmp_path: Path) -> None:
    maps = ["spectral_residual", "fine_grained"]
    again = ge.agreement(maps, data=arrays, input_size=24, sigma="2px", workers=0, batch_size=5, out=tmp_path / "run")
    for name in FILES:
        assert (again.folder / name).read_bytes() == (done.folder / name).read_bytes()


def test_without_out_nothing_stays(arrays: ge.Dataset) -> None:
    results = ge.agreement("fine_grained", data=arrays, input_size=24)
    assert not results.folder.exists()
    assert set(results.images["map"]) == {"fine_grained", "ref:centre", "ref:viewer"}


def test_maps_that_are_not_asked_for_by_name_may_be_missing(arrays: ge.Dataset) -> None:
    results = ge.agreement(data=arrays, input_size=24)
    assert set(results.images["map"]) == {
        *("fine_grained", "spectral_residual", "guided_residual"),
        *("ref:centre", "ref:viewer"),
    }
    assert (
        "map class_map is left out: needs a network for ClassMap(), got none. Pass --model CKPT."
        in (results.manifest["warnings"])
    )


def test_a_network_with_other_classes_is_asked_about_its_own(arrays: ge.Dataset) -> None:
    model = ge.load_model("test_resnet", pretrained=False, device="cpu")
    results = ge.agreement(["class_map", "feature_mean"], data=arrays.subset([0, 1, 2]), model=model)
    notes = [warning for warning in results.manifest["warnings"] if "classes" in warning]
    assert notes == [
        "the model has 1000 classes and the data set 2: gradients and class maps are about the class that it predicts"
    ]
    assert set(results.images["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        ("class_map", {}, r"map class_map: needs a network for ClassMap\(\), got none\. Pass --model CKPT\."),
        ("clas_map", {}, r"--maps: got 'clas_map' \(did you mean 'class_map'\?\)\. Known: fine_grained, "),
        ((), {"kl_form": "mit"}, r"kl_form: got 'mit'.*Use one of benchmark, pysaliency"),
        ((), {"seed": 1}, r"seed: unknown option.*See gazeeval agreement --help"),
    ],
)
def test_what_cannot_be_scored(
    arrays: ge.Dataset, maps: str | tuple[str, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ge.agreement(maps, data=arrays, input_size=24, **options)


def test_a_call_that_fails_says_so_in_its_manifest(arrays: ge.Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got 1 images that have any") as error:
        ge.agreement(data=arrays.subset([0]), input_size=24, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"
    assert "is not complete" in error.value.__notes__[0]
