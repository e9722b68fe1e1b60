"""Settings for all tests."""

from __future__ import annotations

import torch

# the tests' tensors are small: more threads only wait for each other
torch.set_num_threads(1)
