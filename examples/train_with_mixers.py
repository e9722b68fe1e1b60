"""A small network trained without mixing, and with three mixers; then gazeeval scores the networks and the mixers.

Training pictures are drawn, none is a picture of the demo data. Some minutes on two cores; --steps 20 shows the way
in less than one. With --out the checkpoints stay, and the command line takes them:

    gazeeval run -m cutmix -m saliencymix --model FOLDER/saliencymix.pt
"""

import argparse
import tempfile
from pathlib import Path

import timm
import torch
from gazeeval.data_specs.make_demo import CLASSES, CNN, examples, fresh
from torch.nn.functional import cross_entropy

import gazeeval as ge

TRAINED_WITH = {
    "none": {},
    "cutmix": {"p": 0.5},
    "saliencymix": {"p": 0.5},
    "guidedmixup-sr": {"p": 0.5, "pairing": "greedy"},
}
BATCH, RATE = 32, 4e-3


def train(method, options, images, labels, steps):
    """The demo's architecture after AdamW with a one-cycle rate."""
    torch.manual_seed(0)  # the same weights and batches for every method; the mixing has draws of its own
    network = timm.create_model(CNN.arch, num_classes=len(CLASSES), **CNN.model_args)
    mean, std = CNN.pretrained_cfg["mean"], CNN.pretrained_cfg["std"]
    mix = ge.MixTransform(method, model=network, mean=mean, std=std, **options)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for _ in range(steps):
        rows = torch.randint(len(images), (BATCH,))
        mixed, targets = mix(images[rows], labels[rows])
        loss = cross_entropy(network(mixed), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


def save(network, file):
    """Weights with all that a later run needs to know: architecture, classes, preprocessing."""
    about = {"arch": CNN.arch, "model_args": CNN.model_args, "num_classes": len(CLASSES)}
    torch.save({"model": network.state_dict(), **about, "pretrained_cfg": CNN.pretrained_cfg}, file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=800, help="batches for each network")
    parser.add_argument("--out", type=Path, help="folder for the checkpoints")
    args = parser.parse_args()
    images, labels = examples(CNN, fresh(3 * args.steps))
    print("trained with    top-1 %   both in top 2 on CutMix, %   inconsistency of its mixes, %")
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for method, options in TRAINED_WITH.items():
            file = out / f"{method}.pt"
            save(train(method, options, images, labels, args.steps), file)
            runs = ge.evaluate(list(dict.fromkeys(["none", "cutmix", method])), model=file, pairing="cycle")
            score = runs.summary.query("subset == 'all'").set_index(["method", "metric"]).estimate * 100
            own = f"{score[method, 'inconsistency']:32.1f}" if method != "none" else f"{'-':>32}"
            print(f"{method:14}{score['none', 'hit1_main']:9.1f}{score['cutmix', 'hit2_both']:29.1f}{own}", flush=True)


if __name__ == "__main__":
    main()
