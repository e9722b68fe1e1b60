"""One rank of a distributed training: mixes some batches, trains one step, writes what it saw.

``python two_ranks.py RANK FOLDER``, once with rank 0 and once with 1
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gazeeval as ge
from gazeeval.models.architecture import create

torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), Path(sys.argv[2])
meeting = f"file://{folder / 'meeting'}"
torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
network = nn.parallel.DistributedDataParallel(create("test_resnet", {"num_classes": 4}).train())
mix = ge.MixTransform("puzzlemix", model=network)
images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(rank))
labels = torch.arange(4)

mixed, targets = mix(images, labels)
cross_entropy(network(mixed), targets).backward()  # type: ignore[no-untyped-call]

several = ge.MixTransform("mixup", p=0.5, targets="tuple")
drawn = [several(images, labels) for _ in range(20)]
always = ge.MixTransform("mixup", targets="tuple")
seen = {
    "grads": [parameter.grad for parameter in network.parameters()],
    "lam": torch.stack([always(images, labels)[3] for _ in range(5)]),
    "mixed": [result[0] is not images for result in drawn],
}
torch.save(seen, folder / f"{rank}.pt")
torch.distributed.destroy_process_group()
