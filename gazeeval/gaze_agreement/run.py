"""`gazeeval agreement` and `ge.agreement`: resolve what was asked for, score, write the run folder."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm import tqdm

from gazeeval.config import AgreementConfig
from gazeeval.errors import UsageError, did_you_mean
from gazeeval.gaze_agreement.evaluate import MAPS, Agreement, usable
from gazeeval.gaze_agreement.tables import FILES, summary_table
from gazeeval.manifest import SCHEMA, setting_part
from gazeeval.models.device import deterministic
from gazeeval.report.columns import describe
from gazeeval.report.files import read_csv, read_manifest, write_csv, write_json
from gazeeval.run import default_folder, logged, new_folder, require_free
from gazeeval.setting import Setting, fingerprint, prepare_setting
from gazeeval.signals.base import Signal
from gazeeval.version import __version__

log = logging.getLogger("gazeeval")


@dataclass(frozen=True)
class AgreementResults:
    """What `gazeeval agreement` leaves behind.

    Attributes:
        folder: where its files are.
        manifest: manifest.json.
        images: agreement.csv, one row per map and image.
        summary: agreement_summary.csv, one row per map and score.
    """

    folder: Path
    manifest: Mapping[str, Any]
    images: pd.DataFrame
    summary: pd.DataFrame


def agreement(maps: str | Iterable[str] = (), **options: Any) -> AgreementResults:
    """Score saliency maps, gradients, class maps and attention against the gaze of every image.

    Args:
        maps: names of `gazeeval.gaze_agreement.evaluate.MAPS`; default: all that the network can give.
        options: as on the command line, see `gazeeval.config.AgreementConfig`: ``model``, ``data``, ``sigma`` ...
            Without ``out`` nothing stays on disk.

    Raises:
        UsageError: wrong options, data root or checkpoint, or a named map that the network cannot give.
        GazeEvalError: a failure while running.
    """
    config = AgreementConfig.of({"maps": [maps] if isinstance(maps, str) else [*maps], **options})
    with tempfile.TemporaryDirectory(prefix="gazeeval-") as folder:
        return run(config.model_copy(update={"out": config.out or Path(folder) / "run"}))


def run(config: AgreementConfig, *, progress: bool = False) -> AgreementResults:
    """Do what ``config`` says. Raises as `agreement`."""
    if config.out is not None:
        require_free(config.out)
    job = _prepare(config)
    out = new_folder(config.out or default_folder(job.run_id))
    with logged(out / "run.log"), deterministic(config.deterministic):
        for line in (job.setting.header(), *(f"warning: {warning}" for warning in job.warnings)):
            log.info(line)
        (out / "config.yaml").write_text(yaml.safe_dump(job.settings, sort_keys=False), encoding="utf-8")
        manifest = job.manifest()
        write_json(out / "manifest.json", manifest | {"status": "running"})
        try:
            _write_tables(job, out, progress)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            write_json(out / "manifest.json", manifest | {"status": "interrupted" if stopped else "failed"})
            error.add_note(f"{out} is not complete: start again with another --out, or remove it first")
            raise
        write_json(out / "manifest.json", manifest | {"status": "complete", "end": _now()})
    return read_agreement(out)


def read_agreement(folder: Path) -> AgreementResults:
    """Read what `gazeeval agreement` wrote. Raises DataError where files are missing or malformed."""
    return AgreementResults(folder, read_manifest(folder), *(read_csv(folder / name, FILES[name]) for name in FILES))


@dataclass(frozen=True)
class _Job:
    """A call that is ready to start; ``refused`` says of each map that is left out why."""

    config: AgreementConfig
    setting: Setting
    scored: Agreement
    refused: Mapping[str, str]

    @cached_property
    def warnings(self) -> list[str]:
        setting, dataset = self.setting, self.setting.dataset
        notes = setting.network_notes(self.scored.maps.values())
        if setting.model and not setting.networks.judge:
            notes.append(
                f"the model has {setting.model.num_classes} classes and the data set {len(dataset.class_names)}: "
                "gradients and class maps are about the class that it predicts"
            )
        notes += [f"map {name} is left out: {why}" for name, why in self.refused.items()]
        if not self.scored.has_points:
            notes.append("gaze is given as maps: nss, auc, sauc and ig stay empty, they need fixations")
        return [*setting.warnings, *notes]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """For ``config.yaml``."""
        return self.setting.settings(self.config) | {"maps": [*self.scored.maps]}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the rows."""
        maps = {name: repr(request) for name, request in self.scored.maps.items()}
        return {**self.setting.identity, "maps": maps, "kl": self.config.kl_form, "shuffled": self.config.shuffled}

    @property
    def run_id(self) -> str:
        return fingerprint(self.identity)

    def manifest(self) -> dict[str, Any]:
        """manifest.json, but for how it ended."""
        choices = {"kl": self.config.kl_form, "shuffled": self.config.shuffled, "v": __version__}
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "signature": self.setting.signature | choices,
            "command": sys.argv,
            "config": self.settings,
            "identity": self.identity,
            "warnings": self.warnings,
            **setting_part(self.setting),
            "maps": self.identity["maps"],
            "refused": dict(self.refused),
            "columns": describe(FILES),
            "start": _now(),
        }


def _prepare(config: AgreementConfig) -> _Job:
    asked = _asked(config.maps)
    setting = prepare_setting(config)
    maps, refused = usable(asked, setting.networks)
    for name in config.maps:
        if name in refused:
            raise UsageError(f"map {name}: {refused[name]}")
    scored = Agreement(
        setting.dataset,
        maps,
        setting.recipe,
        setting.geometry,
        setting.device,
        setting.networks,
        kl_form=config.kl_form,
        shuffled=config.shuffled,
        workers=config.workers,
    )
    return _Job(config, setting, scored, refused)


def _asked(names: tuple[str, ...]) -> Mapping[str, Signal]:
    for name in names:
        if name not in MAPS:
            raise UsageError(f"--maps: got {name!r}{did_you_mean(name, MAPS)}. Known: {', '.join(MAPS)}.")
    return {name: MAPS[name] for name in names} if names else MAPS


def _write_tables(job: _Job, out: Path, progress: bool) -> None:
    dataset, frames = job.setting.dataset, []
    with tqdm(total=len(dataset), unit="image", disable=None if progress else True, file=sys.stderr) as bar:
        for frame in job.scored.run():
            frames.append(frame)
            bar.update(frame["image_id"].nunique())
    order = pd.CategoricalDtype(list(job.scored.names()))
    rows = pd.concat(frames).sort_values("map", kind="stable", key=lambda names: names.astype(order))
    images = rows.assign(run_id=job.run_id, dataset=dataset.name, split=dataset.split)
    write_csv(images, out / "agreement.csv", FILES["agreement.csv"])
    images = read_csv(out / "agreement.csv", FILES["agreement.csv"])  # so that the summary is that of the file
    write_csv(summary_table(images, job.config.ci), out / "agreement_summary.csv", FILES["agreement_summary.csv"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
