"""The published data sets that can be opened by name, with their layouts."""

from dataclasses import dataclass
from typing import Literal

from .layouts import Reader, read_kolektor, read_mvtec, read_visa, read_vision

_MVTEC_LAYOUT = (
    "CATEGORY/{train,test}/CLASS/*, masks in CATEGORY/ground_truth/CLASS/ named *_mask.png or "
    "like their image"
)


@dataclass(frozen=True)
class Benchmark:
    """A published data set.

    Attributes:
        licence: in short; read the original text before using the set.
        source: of the download.
        images: their number, as text.
        folders: the names that its folder may have.
        used_for: its use in the paper.
        layout: the expected tree.
    """

    name: str
    licence: str
    source: str
    images: str
    folders: tuple[str, ...]
    used_for: Literal["test", "training mix"]
    layout: str = _MVTEC_LAYOUT
    reader: Reader = read_mvtec
    note: str = ""


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="MVTec-AD",
        licence="CC BY-NC-SA 4.0",
        source="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        images="5354 of 15 categories (3629 train, 1725 test)",
        layout="CATEGORY/{train,test}/CLASS/000.png, ground_truth/CLASS/000_mask.png",
        folders=("MVTec-AD", "mvtec_ad", "mvtec", "mvtec_anomaly_detection", "MVTecAD"),
        used_for="test",
    ),
    Benchmark(
        name="VisA",
        licence="CC BY 4.0",
        source="https://github.com/amazon-science/spot-diff",
        images="10821 of 12 categories (9621 normal, 1200 defective)",
        layout="split_csv/1cls.csv, CATEGORY/Data/Images/{Normal,Anomaly}/*.JPG, "
        "CATEGORY/Data/Masks/Anomaly/*.png",
        folders=("VisA", "VisA_20220922", "VisA_dataset"),
        reader=read_visa,
        used_for="training mix",
        note="Mask pixels are small numbers, one per kind of defect; the files look black.",
    ),
    Benchmark(
        name="KolektorSDD",
        licence="CC BY-NC-SA 4.0",
        source="https://www.vicos.si/resources/kolektorsdd/",
        images="399 whole (347 normal, 52 defective)",
        layout="kosNN/PartM.jpg, kosNN/PartM_label.bmp",
        folders=("KolektorSDD", "KSDD", "kolektor"),
        reader=read_kolektor,
        used_for="test",
        note="No published split: all images are test. An image is defective if its label file has "
        "a pixel above 0.",
    ),
    Benchmark(
        name="KolektorSDD-cropped",
        licence="CC BY-NC-SA 4.0, as the set it is cut from",
        source="made from KolektorSDD by the authors of zero-shot methods; no publisher's archive",
        images="depends on who cut it",
        folders=("KolektorSDD-cropped", "KSDD-cropped", "SDD"),
        used_for="test",
        note="Metrics on crops are not comparable with metrics on whole images.",
    ),
    Benchmark(
        name="DTD-Synthetic",
        licence="see its publisher; made from DTD, which is for research",
        source="the authors of Aota, Tong, Okatani: Zero-shot versus many-shot (WACV 2023)",
        images="of 12 textures, like Woven_001",
        folders=("DTD-Synthetic", "DTD_Synthetic", "DTDSynthetic", "dtd_synthetic"),
        used_for="test",
    ),
    Benchmark(
        name="WFDD",
        licence="see its publisher",
        source="https://github.com/cqylunlun/GLASS, Dataset Release",
        images="4101 of 4 categories (3657 train, 444 test)",
        folders=("WFDD",),
        used_for="test",
    ),
    Benchmark(
        name="GoodsAD",
        licence="see its publisher",
        source="https://github.com/jianzhang96/GoodsAD",
        images="6124 of 6 categories (3136 train, 2988 test)",
        layout="CATEGORY/{train,test}/CLASS/000000.jpg, ground_truth/CLASS/000000.png",
        folders=("GoodsAD", "PKU-GoodsAD"),
        used_for="training mix",
    ),
    Benchmark(
        name="VISION",
        licence="see its card; access is granted on conditions",
        source="https://huggingface.co/datasets/VISION-Workshop/VISION-Datasets",
        images="of 14 products",
        layout="PRODUCT/{train,val}/_annotations.coco.json with the images in the same folder",
        folders=("VISION", "VISION-Datasets", "VISION_Datasets"),
        reader=read_vision,
        used_for="training mix",
        note="No test split with labels: train is train, val is validation, inference is not "
        "read. Images without annotations are normal; polygons instead of mask files.",
    ),
    Benchmark(
        name="PR-REAL",
        licence="see its publisher",
        source="https://github.com/Andy-cs008/PD-REAL, see the note",
        images="over 3500 of 15 categories, with depth that is not read",
        layout="CATEGORY/{train,validation,test}/CLASS/rgb/*, masks of the same name in CLASS/gt/; "
        "or " + _MVTEC_LAYOUT + "; or a meta.json",
        folders=("PR-REAL", "PR_REAL", "PD-REAL", "PD_REAL"),
        used_for="training mix",
        note="No public data set has the name that the paper prints. PD-REAL (Qin et al., arXiv "
        "2311.04095: models of Play-Doh) differs in one letter; we assume it is meant. Its "
        "archive is not documented; the layout is that of other sets with depth.",
    ),
)


def find_benchmark(name: str) -> Benchmark | None:
    """Return the data set of a name, in any case, or None."""
    return next((b for b in BENCHMARKS if b.name.lower() == name.lower()), None)
