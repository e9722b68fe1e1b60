"""AbSViT: a vision transformer that looks twice, the second time for what it is told to look for.

Shi, Darrell, Wang, "Top-Down Visual Attention from Analysis by Synthesis", CVPR 2023, and the read-out of TdAttenMix
(Wang, Gu, Lu, AAAI 2025): card ``tdattenmix``, section (1). The networks are known to timm under their authors' names,
without weights: ``load_model("absvit_base_patch16_224.pth", arch="absvit_base_patch16_224")``.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

FEEDBACK = "decoders.0.linear.weight"
"""Name of a weight that plain transformers lack."""


class Decoder(nn.Module):
    """One layer of the way back: ``linear`` leads to the block below, ``linear2`` into the values of this one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)
        self.linear2 = nn.Linear(dim, dim, bias=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z = self.linear(z)
        return z, self.linear2(z)


class AbSViT(VisionTransformer):
    """timm's transformer, with a way back from the last block to the first.

    ``forward``, ``forward_features`` and ``forward_head`` are the plain first pass, which the released training
    supervises as much as the second. With T tokens of D channels, the class token included, and L blocks:

    1. t1 = tokens after the plain pass (`forward_features`), w = the classifier's row of the class.
    2. z = t1 * clamp(cos(t1, w), 0, 1) (`prior`).
    3. From the last block to the first: z <- linear z, u = sigma gain linear2 z (`feedback`). All of it is linear, so
       sigma, the factor on what reaches the blocks, and gain, that on the prior, act as one.
    4. t2 = tokens after a pass where each block adds the values of its u to its own; its queries and keys stay
       (`second_pass`). u is not normalised, and the bias of the values comes in twice.
    5. c = clamp(cos(t2, w), 0, 1) of the patch tokens.
    6. map = max(0, c - (0.7 max c + 0.3 min c)), per image (`above_threshold`).

    ``prompt`` is the direction learned in place of w, with which the authors classify.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.decoders = nn.ModuleList(Decoder(self.embed_dim) for _ in self.blocks)
        self.prompt = nn.Parameter(torch.randn(self.embed_dim))

    def top_down(
        self, x: Tensor, labels: Tensor, *, sigma: float = 1.0, gain: float = 1.0, threshold: bool = True
    ) -> Tensor:
        """(n, N) float32 in [0, 1]: how much each of the N patches, row by row, resembles the class once looked for.

        Args:
            x: (n, 3, h, w), normalised images.
            labels: (n,) int64, rows of the classifier.
            sigma, gain: factors on the feedback; published: 1 and 1 (TdAttenMix), 40 for gain in AbSViT's own demo.
            threshold: whether step 6 follows.
        """
        return self.look_for(x, self.get_classifier().weight[labels], strength=sigma * gain, threshold=threshold)

    def look_for(self, x: Tensor, wanted: Tensor, *, strength: float = 1.0, threshold: bool = True) -> Tensor:
        """(n, N) float32 in [0, 1]: steps 1 to 6 with ``wanted`` (n, D) as w."""
        back = self.feedback(prior(self.forward_features(x), wanted), strength)
        patches = self.second_pass(x, back)[:, self.num_prefix_tokens :]
        seen = cosine(patches, wanted).clamp(0, 1).float()
        return above_threshold(seen) if threshold else seen

    def feedback(self, z: Tensor, strength: float = 1.0) -> list[Tensor]:
        """L tensors (n, T, D): what reaches each block from the prior ``z`` (n, T, D)."""
        back = []
        for decoder in reversed(self.decoders):
            z, u = decoder(z)
            back.append(strength * u)
        return back[::-1]

    def second_pass(self, x: Tensor, back: list[Tensor]) -> Tensor:
        """(n, T, D): tokens after the final norm, with ``back[i]`` (n, T, D) fed to block i."""
        tokens: Tensor = self.norm_pre(self._pos_embed(self.patch_embed(x)))
        block: Any
        for block, u in zip(self.blocks, back, strict=True):
            tokens = tokens + block.drop_path1(block.ls1(_attend(block.attn, block.norm1(tokens), u)))
            tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
        tokens = self.norm(tokens)
        return tokens


def prior(tokens: Tensor, wanted: Tensor) -> Tensor:
    """(n, T, D): each token of ``tokens`` (n, T, D) as far as it points in the direction ``wanted`` (n, D)."""
    return tokens * cosine(tokens, wanted).clamp(0, 1).unsqueeze(2)


def cosine(tokens: Tensor, wanted: Tensor) -> Tensor:
    """(n, T) in [-1, 1]: cosine of each token of ``tokens`` (n, T, D) with ``wanted`` (n, D); 0 for a zero vector."""
    return (normalize(tokens, dim=2) @ normalize(wanted, dim=1).unsqueeze(2)).squeeze(2)


def above_threshold(seen: Tensor) -> Tensor:
    """(n, N): by how much each place of ``seen`` (n, N) exceeds 0.7 of its image's maximum plus 0.3 of its minimum."""
    return (seen - (0.7 * seen.amax(1, keepdim=True) + 0.3 * seen.amin(1, keepdim=True))).clamp(min=0)


def _attend(attention: Any, x: Tensor, u: Tensor) -> Tensor:
    """Self-attention over ``x`` (n, T, D) where the values of ``u`` (n, T, D) are added to those of ``x``."""
    queries, keys, values = attention.qkv(x).chunk(3, dim=2)
    values = values + attention.qkv(u).chunk(3, dim=2)[2]
    q, k, v = (part.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for part in (queries, keys, values))
    found: Tensor = attention.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    return found


def _network(name: str, pretrained: bool, options: dict[str, Any]) -> AbSViT:
    return build_model_with_cfg(AbSViT, name, pretrained, pretrained_filter_fn=checkpoint_filter_fn, **options)


# Preparation of the authors' evaluation: shorter side to 256, centre 224, bicubic.
_CONFIG = {
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "fixed_input_size": True,
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "first_conv": "patch_embed.proj",
    "classifier": "head",
}
default_cfgs = generate_default_cfgs({f"absvit_{size}_patch16_224": _CONFIG for size in ("tiny", "small", "base")})


@register_model
def absvit_tiny_patch16_224(pretrained: bool = False, **options: Any) -> AbSViT:
    return _network("absvit_tiny_patch16_224", pretrained, {"embed_dim": 192, "num_heads": 3, **options})


@register_model
def absvit_small_patch16_224(pretrained: bool = False, **options: Any) -> AbSViT:
    return _network("absvit_small_patch16_224", pretrained, {"embed_dim": 384, "num_heads": 6, **options})


@register_model
def absvit_base_patch16_224(pretrained: bool = False, **options: Any) -> AbSViT:
    return _network("absvit_base_patch16_224", pretrained, {"embed_dim": 768, "num_heads": 12, **options})
