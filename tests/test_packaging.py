"""The wheel built from the sdist, away from the sources."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_built_from_the_sdist_runs_the_demo_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)  # an sdist, and the wheel from it
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "gazeeval/cli/run.py",
        "gazeeval/data_specs/cub-gha.yaml",
        "gazeeval/data_specs/demo/cnn.safetensors",
        "gazeeval/report/templates/report.html.j2",
    ):
        assert wanted in names
    assert not [name for name in names if name.startswith(("tests", "cli/", "data_specs/"))]

    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    where = [sys.executable, "-P", "-c", "import gazeeval.cli.run; print(gazeeval.cli.run.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout
    assert Path(found.strip()) == tmp_path / "site" / "gazeeval" / "cli" / "run.py"
    demo = [sys.executable, "-P", "-m", "gazeeval", "run", "-n", "20", "--out", "demo"]
    done = subprocess.run(demo, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "demo"
    assert (tmp_path / "demo" / "summary.csv").is_file()
