"""A DINOv2 encoder as Qwen2.5-VL's vision encoder: what that class can hold, exactly.

Each step keeps the function, up to rounding (tests/recipe/test_convert.py):

- LayerNorm(x) is RMSNorm of x less its mean. So whatever writes to the residual stream is centred,
  W ← (I − 11ᵀ/n) W, and the mean is 0 everywhere.
- LayerNorm's bias goes through the next linear layer into that layer's bias.
- LayerScale goes into the layer before it.
- The MLP's second factor is 1: weights 0, biases 1.
- The patch kernel is halved over the two frames of a temporal patch, which hold the same image.

That class has no learned positions, no class token and no bias of the patch kernel. The positions'
mean and that bias are one constant vector, which the first block's attention adds to the stream.
That block's own attention sees a patch without it: as if the vector were there, for a patch of
typical contrast. Self-distillation (distill.py) mends the rest.
"""

import torch
from torch import Tensor
from transformers import Dinov2Model

# Of a photo's patches with the constant vector, the typical norm; and that norm without it, as the
# first block sees it, is made this share by the weights that read it. By the cosine to the source
# on one photo: .82 after six blocks, .54 without this.
_NORM, _SHARE = 1.8, 0.5


def converted(source: Dinov2Model) -> dict[str, Tensor]:
    """Return the weights of a `Qwen2_5_VisionTransformerPretrainedModel`, without its merger."""
    embeddings = source.embeddings
    kernel = centred(embeddings.patch_embeddings.projection.weight)
    weights = {"patch_embed.proj.weight": torch.stack([kernel / 2, kernel / 2], dim=2)}
    for index, layer in enumerate(source.encoder.layer):
        block = block_weights(layer)
        if index == 0:
            _add_constant(block, centred(constant(source)))
        weights |= {f"blocks.{index}.{name}": weight for name, weight in block.items()}
    return weights


def _add_constant(block: dict[str, Tensor], vector: Tensor) -> None:
    """Let the first block add a vector to the stream, and read it as if it were there before."""
    block["attn.proj.bias"] += vector
    normed = block["norm1.weight"] * vector * len(vector) ** 0.5 / _NORM
    block["attn.qkv.bias"] += block["attn.qkv.weight"] @ normed
    block["norm1.weight"] *= _SHARE


def constant(source: Dinov2Model) -> Tensor:
    """Return (width,): the bias of the patch kernel and the mean of the learned positions."""
    positions = source.embeddings.position_embeddings[0, 1:].mean(0)
    total: Tensor = source.embeddings.patch_embeddings.projection.bias + positions
    return total.detach()


def block_weights(layer: torch.nn.Module) -> dict[str, Tensor]:
    """Return the weights of one block of Qwen2.5-VL's that computes what `layer` does.

    layer: `Dinov2Layer`.
    """
    own: dict[str, Tensor] = {name: weight.detach() for name, weight in layer.named_parameters()}
    qkv, qkv_bias = (
        torch.cat([own[f"attention.{name}_proj.{kind}"] for name in "qkv"])
        for kind in ("weight", "bias")
    )
    gate = own["mlp.fc1.weight"]
    scale1, scale2 = own["layer_scale1.lambda1"], own["layer_scale2.lambda1"]
    return {
        "norm1.weight": own["norm1.weight"].clone(),
        "attn.qkv.weight": qkv,
        "attn.qkv.bias": qkv_bias + qkv @ own["norm1.bias"],
        "attn.proj.weight": centred(scale1[:, None] * own["attention.o_proj.weight"]),
        "attn.proj.bias": centred(scale1 * own["attention.o_proj.bias"]),
        "norm2.weight": own["norm2.weight"].clone(),
        "mlp.gate_proj.weight": gate.clone(),
        "mlp.gate_proj.bias": own["mlp.fc1.bias"] + gate @ own["norm2.bias"],
        "mlp.up_proj.weight": torch.zeros_like(gate),
        "mlp.up_proj.bias": torch.ones_like(own["mlp.fc1.bias"]),
        "mlp.down_proj.weight": centred(scale2[:, None] * own["mlp.fc2.weight"]),
        "mlp.down_proj.bias": centred(scale2 * own["mlp.fc2.bias"]),
    }


def centred(weight: Tensor) -> Tensor:
    """Return (I − 11ᵀ/n) W: what W writes, less its mean over the stream's n features."""
    return weight - weight.mean(0, keepdim=True)
