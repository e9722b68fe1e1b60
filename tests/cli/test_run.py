"""`gazeeval run` as a newcomer uses and misuses it."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import signal
from pathlib import Path

import pytest
import torch
from command import Command
from safetensors.torch import load_file

from gazeeval.models.demo import demo_checkpoint

QUICK = ("--input-size", 32, "--no-references")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def only_error(done: tuple[int, str, str], code: int = 2) -> str:
    """The one line that a mistake ends with; nothing else was printed."""
    assert done[:2] == (code, "")
    assert "Traceback" not in done[2]
    (line,) = done[2].splitlines()
    assert re.match(r"error: .+[.)?]$", line), "the shape of ux.md: what, where, got, what to do"
    return line


def test_stdout_is_the_table_and_the_folder_and_the_rest_is_stderr(gazeeval: Command, out: Path) -> None:
    done = gazeeval("run", "-n", 6, "-m", "mixup", "-m", "cutmix", "-o", out)
    assert done.code == 0
    table = done.out.splitlines()
    assert table[-1] == str(out)
    assert table[0].startswith("method")
    assert [line.split()[0] for line in table[1:4]] == ["mixup", "cutmix", "-" * len(table[3])]
    assert any(line.startswith("data:demo") and "|gaze:sigma=3.5%" in line for line in table)
    log = done.err.splitlines()
    assert log[0].startswith("gazeeval 0.")
    assert "data demo (95 images, " in log[0]
    banner = [line for line in log if line.startswith("warning: demo data:") and "--data" in line]
    assert len(banner) == 2, "at start and end"
    assert not logging.getLogger("gazeeval").handlers


def test_json_is_the_summary_and_nothing_else(gazeeval: Command, out: Path) -> None:
    done = gazeeval("run", "-n", 6, "-m", "cutmix", "--json", "-o", out, "--no-references")
    rows = json.loads(done.out)
    assert {row["method"] for row in rows} == {"cutmix"}
    assert {"inconsistency", "delta", "hit2_both"} <= {row["metric"] for row in rows}
    assert done.err.splitlines()[-1] == str(out)


def test_quiet_says_warnings_once_and_no_more(gazeeval: Command, out: Path) -> None:
    done = gazeeval("run", "-n", 6, "-m", "cutmix", "-q", "-o", out)
    lines = done.err.splitlines()
    assert len(lines) == len(set(lines))
    assert all(line.startswith("warning: ") for line in lines)
    assert done.out.splitlines()[-1] == str(out)


def test_without_out_a_folder_is_named_by_time_and_fingerprint(
    gazeeval: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [gazeeval("run", "-n", 2, "-m", "cutmix", *QUICK).out.splitlines()[-1] for _ in range(2)]
    assert len(set(folders)) == 2
    for folder in folders:
        run_id = json.loads((tmp_path / folder / "manifest.json").read_text())["run_id"]
        assert re.fullmatch(rf"gazeeval-runs/\d{{8}}T\d{{6}}-{run_id}(-\d+)?", folder)


def test_command_line_before_environment_before_config_before_default(
    gazeeval: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "method: [mixup, 'cutmix:alpha=0.2']\nnum_pairs: 3\nseed: 1\ntop_k: [1, 3]\nreferences: false\nworkers: 1\n"
    )
    monkeypatch.setenv("GAZEEVAL_RUN_SEED", "2")
    monkeypatch.setenv("GAZEEVAL_RUN_NUM_PAIRS", "4")
    monkeypatch.setenv("GAZEEVAL_RUN_INPUT_SIZE", "32")
    out = tmp_path / "out"
    assert gazeeval("run", "--config", config, "-n", 5, "-o", out).code == 0
    manifest = json.loads((out / "manifest.json").read_text())
    given = manifest["config"]
    assert {name: given[name] for name in ("num_pairs", "seed", "top_k", "workers", "input_size", "weight")} == {
        "num_pairs": 5,
        "seed": 2,
        "top_k": [1, 3],
        "workers": 1,
        "input_size": 32,
        "weight": "duration",
    }
    assert list(manifest["methods"]) == ["mixup", "cutmix:alpha=0.2"]
    assert manifest["references"] == []
    monkeypatch.setenv("GAZEEVAL_RUN_METHOD", "saliencymix cutmix")
    assert gazeeval("run", "--config", config, "-o", tmp_path / "out2").code == 0
    assert list(json.loads((tmp_path / "out2" / "manifest.json").read_text())["methods"]) == ["saliencymix", "cutmix"]


def test_one_method_in_a_config_file_needs_no_list(gazeeval: Command, tmp_path: Path, out: Path) -> None:
    (tmp_path / "c.yaml").write_text("method: mixup\n")
    assert gazeeval("run", "--config", tmp_path / "c.yaml", "-n", 2, *QUICK, "-o", out).code == 0
    assert list(json.loads((out / "manifest.json").read_text())["methods"]) == ["mixup"]


def test_the_config_of_a_run_gives_the_same_rows(gazeeval: Command, tmp_path: Path, mine: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    options = ("-m", "cutmix:alpha=0.3", "-m", f"{mine}:Half:share=0.25", "-n", 7, "--seed", 3, "--sigma", "4px")
    assert gazeeval("run", *options, "--top-k", "1,3", "--labels", "any", "--no-references", "-o", first).code == 0
    done = gazeeval("run", "--config", first / "config.yaml", "-o", again)
    assert done.code == 0, done.err
    assert (first / "inconsistency.csv").read_bytes() == (again / "inconsistency.csv").read_bytes()
    assert (first / "config.yaml").read_bytes() == (again / "config.yaml").read_bytes()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "nope.pt"], "checkpoint: nope.pt: no such file"),
        (["--model", "resnet5O"], "got 'resnet5O' (did you mean 'resnet50'?)"),
        (["-d", "cub-gha", "--root", "/nowhere"], "data root: /nowhere, no such folder. Pass --root DIR"),
        (["-d", "cub-gha", "--root", "{tmp}"], "data root: {tmp}, got no CUB_200_2011/images.txt in it. Pass --root"),
        (["-d", "cub-gha"], "data root: cub-gha, got none. Pass --root DIR"),
        (["-d", "cub_gha"], "dataset: unknown name, got 'cub_gha' (did you mean 'cub-gha'?)"),
        (["-d", "nope.yaml"], "dataset spec: no such file, got 'nope.yaml'"),
        (["--split", "tran"], "--split: got 'tran'"),
        (["-m", "cutmx"], "method: unknown name, got 'cutmx' (did you mean 'cutmix'?)"),
        (["-m", ""], "method: unknown name, got ''"),
        (["-m", "cutmix:alhpa=1"], "method cutmix: unknown option, got 'alhpa' (did you mean 'alpha'?)"),
        (["-m", "cutmix:alpha=x"], "method cutmix: alpha, got 'x'"),
        (["-m", "cutmix:alpha"], "method cutmix: option, got 'alpha'. Write cutmix:key=value"),
        (["-m", "cutmix:alpha=-1"], "method cutmix: alpha, got -1.0. Give a number above 0."),
        (["-m", "cutmix", "-m", "cutmix:alpha=1"], "method: got cutmix, cutmix:alpha=1. Name one or more, each once."),
        (["-m", "mine.py"], "method: no class, got 'mine.py'. Write mine.py:Class."),
        (["-m", "nowhere.py:Mix"], "method: no such file, got 'nowhere.py'"),
        (["-m", "no_such_package.mix:Mix"], "method no_such_package.mix: cannot be imported"),
        (["--sigma", "wide"], "--sigma: got 'wide'. Give a positive length as 9px"),
        (["--sigma", "-1px"], "--sigma: got '-1px'"),
        (["--device", "gpu"], "device: got 'gpu' (did you mean 'cpu'?)"),
        (["--pair-file", "nope.csv"], "--pair-file: nope.csv, cannot be read: No such file or directory."),
        (["--pair-file", "{tmp}/two-words.csv"], "--pair-file: {tmp}/two-words.csv: column 'source_id' is missing"),
        (["--placement", "contain"], "--placement: got 'contain', but the gaze of demo.yaml (format csv) has no such"),
        (["-o", "{tmp}"], "--out: {tmp}, got a folder with files in it. Nothing is overwritten"),
        (["-o", "{tmp}/two-words.csv/run"], "--out: {tmp}/two-words.csv/run, cannot be written: Not a directory."),
    ],
)
def test_what_cannot_be_run(gazeeval: Command, tmp_path: Path, args: list[str], message: str) -> None:
    (tmp_path / "two-words.csv").write_text("source,target\na,b\n")
    here = [arg.format(tmp=tmp_path) for arg in args]
    assert message.format(tmp=tmp_path) in only_error(gazeeval("run", *here))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(gazeeval: Command) -> None:
    assert "device: no such device, got 'cuda'" in only_error(gazeeval("run", "--device", "cuda"), code=1)


def test_degrees_without_a_viewing_distance_leave_nothing_behind(gazeeval: Command, out: Path) -> None:
    done = gazeeval("run", "--sigma", "1deg", "-q", "-o", out)
    assert "--sigma: got 1deg, but the dataset does not say how many pixels a degree has" in only_error(done)
    assert not out.exists()


def test_a_misspelt_key_of_a_spec(gazeeval: Command, little: Path) -> None:
    little.write_text(little.read_text().replace("  unit: px", "  unit: px\n  image_kye: path"))
    line = only_error(gazeeval("run", "-d", little))
    assert line == "error: little.yaml: gaze.image_kye: unknown field (did you mean 'image_key'?)"


def test_weights_that_do_not_say_their_architecture(gazeeval: Command, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(load_file(demo_checkpoint()), path)
    line = only_error(gazeeval("run", "--model", path))
    assert f"checkpoint: {path}: does not say its architecture. Pass --arch; " in line


class Evil:
    """Something that runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_a_checkpoint_with_code(gazeeval: Command, tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / "evil.pt"
    torch.save({"state_dict": load_file(demo_checkpoint()), "x": Evil(mark)}, path)
    line = only_error(gazeeval("run", "--model", path))
    assert "holds objects that need code to load, got posix.system. Nothing was executed." in line
    assert not mark.exists()


def test_gaze_files_with_code(gazeeval: Command, tmp_path: Path, little: Path) -> None:
    mark = tmp_path / "executed"
    cub, gaze = tmp_path / "root" / "CUB_200_2011", tmp_path / "root" / "dataset"
    (cub / "images").mkdir(parents=True)
    gaze.mkdir()
    (little.parent / "00.png").rename(cub / "images" / "00.png")
    for name, line in (("images", "1 00.png"), ("classes", "1 bird"), ("image_class_labels", "1 1")):
        (cub / f"{name}.txt").write_text(line)
    for level in ("species", "genus", "family", "order"):
        (gaze / f"{level}.pkl").write_bytes(pickle.dumps({"x": Evil(mark)}))
    line = only_error(gazeeval("run", "-d", "aristo", "--root", tmp_path / "root", "--placement", "contain"))
    assert re.search(r"species\.pkl: refused, it tried to import posix\.system", line)
    assert not mark.exists()


def test_a_class_count_that_does_not_match_leaves_accuracy_empty(gazeeval: Command, little: Path, out: Path) -> None:
    done = gazeeval("run", "-d", little, "-m", "cutmix", "--model", demo_checkpoint(), "--no-references", "-o", out)
    assert done.code == 0
    assert "warning: the model has 6 classes and the data set 3: the accuracy columns stay empty" in done.err
    header, first, *_ = (out / "inconsistency.csv").read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert {name for name, value in row.items() if re.match("pred|hit|acc|p_", name) and value} == set()
    assert row["lam_gaze"]


def test_without_a_network_accuracy_is_empty_and_that_is_said(gazeeval: Command, little: Path, out: Path) -> None:
    done = gazeeval("run", "-d", little, "-m", "cutmix", *QUICK, "-o", out)
    assert done.code == 0
    assert "warning: no model: the accuracy columns stay empty (pass --model CKPT)" in done.err


def test_an_image_that_does_not_decode_fails_its_pairs(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    options = ("run", "-d", little, "-m", "cutmix", *QUICK)
    assert gazeeval(*options, "-o", tmp_path / "whole").code == 0
    picture = little.parent / "04.png"
    picture.write_bytes(picture.read_bytes()[:300])
    done = gazeeval(*options, "-o", tmp_path / "cut")
    assert done.code == 4
    assert "warning: 1 of 6 pairs failed with at least one method: see failures.csv" in done.err
    header, row = (tmp_path / "cut" / "failures.csv").read_text().splitlines()
    assert header == "method,pair_id,stage,exception,message"
    assert re.fullmatch(r'cutmix,\d,read,ImageError,"?image: .*04\.png, cannot be decoded.*', row)
    whole, cut = (
        [line.partition(",")[2] for line in (tmp_path / name / "inconsistency.csv").read_text().splitlines()]
        for name in ("whole", "cut")
    )
    different = [line for line, other in zip(cut, whole, strict=True) if line != other]
    assert len(different) == 1
    assert ",failed," in different[0]
    assert gazeeval(*options, "--strict", "-o", tmp_path / "strict").code == 1


def test_gaze_for_images_that_are_not_there_is_one_warning(gazeeval: Command, little: Path, out: Path) -> None:
    with (little.parent / "gaze.csv").open("a") as stream:
        stream.write("\nelsewhere.png,1,1\nelsewhere.png,2,2\nnowhere.png,3,3")
    done = gazeeval("run", "-d", little, "-m", "cutmix", *QUICK, "-o", out)
    assert done.code == 0
    warnings = json.loads((out / "manifest.json").read_text())["warnings"]
    assert [warning for warning in warnings if warning.startswith("2 images have gaze but are not in")]
    assert done.err.count("images have gaze but are not in") == 2, "when it starts, and again when it ends"


def test_a_method_from_a_file(gazeeval: Command, mine: Path, out: Path) -> None:
    done = gazeeval("run", "-m", f"{mine}:Half:share=0.25", "-n", 2, *QUICK, "-o", out)
    assert done.code == 0
    assert done.out.splitlines()[1].startswith("Half:share=0.25")
    method = json.loads((out / "manifest.json").read_text())["methods"]["Half:share=0.25"]
    assert method["parameters"] == {"share": 0.25}
    assert method["file"] == str(mine)
    assert len(method["sha256"]) == 64


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("import a_library_that_nobody_has\n", "import a_library_that_nobody_has\n"),
    ],
)
def test_a_file_that_cannot_be_imported_shows_where(gazeeval: Command, tmp_path: Path, text: str, shown: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    done = gazeeval("run", "-m", f"{path}:Mix")
    assert done.code == 2
    assert shown in done.err
    assert f'File "{path}", line 1' in done.err
    assert "importlib" not in done.err, "only the user's own frames"
    assert done.errors[0].startswith(f"error: method {path}: cannot be imported, got ")


def test_a_mixer_that_raises_shows_where_and_leaves_nothing_behind(gazeeval: Command, mine: Path, out: Path) -> None:
    done = gazeeval("run", "-m", f"{mine}:Raises", "-o", out)
    assert done.code == 1
    assert "return 1 // 0" in done.err
    assert "engine.py" not in done.err
    assert re.fullmatch(r"error: method Raises, pairs 0 to \d+: ZeroDivisionError: .*", done.errors[0])
    assert not out.exists()


def test_a_mixer_that_breaks_the_contract(gazeeval: Command, mine: Path, out: Path) -> None:
    done = gazeeval("run", "-m", f"{mine}:Beyond", "-q", "-o", out)
    assert "method Beyond, pairs 0 to 31: contract: lam must lie in [0, 1], got [2." in only_error(done, code=1)


def test_a_class_that_is_no_dataclass(gazeeval: Command, mine: Path) -> None:
    line = only_error(gazeeval("run", "-m", f"{mine}:Plain"))
    assert "Plain is no dataclass. Decorate it with @dataclass(frozen=True)." in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_so_and_does_not_look_whole(
    gazeeval: Command, mine: Path, out: Path, number: int, code: int
) -> None:
    # two pairs in the last group only, so the signal comes while the second group is mixed
    before = signal.getsignal(signal.SIGTERM)
    done = gazeeval("run", "-m", f"{mine}:Stopped:number={int(number)}", "-n", 34, "-q", *QUICK, "-o", out)
    assert (done.code, done.out) == (code, "")
    assert done.err.strip().splitlines() == [
        "interrupted",
        f"{out} is not complete. Go on with: gazeeval run --resume {out}",
    ]
    assert json.loads((out / "manifest.json").read_text())["status"] == "interrupted"
    assert not (out / "inconsistency.csv").exists()
    assert not (out / "summary.csv").exists()
    assert signal.getsignal(signal.SIGTERM) == before
