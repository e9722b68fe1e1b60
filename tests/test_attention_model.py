"""Another network may give attention than the one that classifies; on a fresh machine the demo transformer does."""

from __future__ import annotations

import re

import pytest

import gazeeval as ge
from gazeeval.errors import UsageError

OPTIONS = {"num_pairs": 6, "group_size": 12, "references": False, "device": "cpu"}
METHODS = ["smmix", "tdattenmix", "tdattenmix-bottomup", "transmix", "tokenmix", "maskmix", "mixpro"]
SMALL = ["smmix:side=8", "tdattenmix:side=8", "transmix"]  # the demo's ResNet takes images of 64 px


def test_every_attention_method_runs_on_the_bundled_transformer() -> None:
    runs = ge.evaluate(METHODS, model="demo-vit", **OPTIONS)
    assert (runs.pairs["status"] == "ok").all()
    assert set(runs.pairs["method"]) == set(METHODS)
    assert runs.pairs["pred1"].notna().all()


def test_attention_comes_from_one_network_and_predictions_from_the_other() -> None:
    alone = ge.evaluate(["cutmix"], model="demo", **OPTIONS)
    both = ge.evaluate(["cutmix", *SMALL], model="demo", attention_model="demo-vit", **OPTIONS)
    assert (both.pairs["status"] == "ok").all()
    cutmix = both.pairs.query("method == 'cutmix'")
    assert cutmix["p_source"].tolist() == alone.pairs["p_source"].tolist()
    assert both.manifest["model"]["arch"] == "resnet10t"
    assert both.manifest["attention_model"]["arch"] == "vit_tiny_patch16_224"
    assert "vit_tiny_patch16_224" in both.manifest["signature"]["attention"]


def test_without_it_the_method_is_refused_and_told_why() -> None:
    with pytest.raises(UsageError, match=r"^method transmix: .*" + re.escape("attention=queries")):
        ge.evaluate(["cutmix", "transmix"], model="demo", **OPTIONS)


def test_classes_of_another_network_are_refused_where_they_are_read() -> None:
    other = ge.load_model("test_vit", pretrained=False, device="cpu", input_size=64)  # 1000 classes
    with pytest.raises(UsageError, match=r"TopDown.*1000 classes where there are 6.*--attention-model"):
        ge.evaluate(["tdattenmix:side=8"], model="demo", attention_model=other, **OPTIONS)
    bottom_up = ge.evaluate(["tdattenmix-bottomup:side=8"], model="demo", attention_model=other, **OPTIONS)
    assert (bottom_up.pairs["status"] == "ok").all()
