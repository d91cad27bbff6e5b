"""A bench on disk, the traces that its detectors share, and the metric values made of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from flawsight.data.dataset import Dataset, Sample
from flawsight.data.masks import read_gt_mask
from flawsight.errors import (
    DetectorError,
    FlawsightError,
    ImageError,
    RunFolderError,
    SettingsError,
)
from flawsight.evaluate.bench import check_names, read_detector_runs, run_detector
from flawsight.evaluate.confusion import read_verdicts
from flawsight.evaluate.detectors.flawsight import FlawsightDetector
from flawsight.evaluate.detectors.protocol import Prediction
from flawsight.evaluate.detectors.spec import needs_model, open_detector, parse_spec
from flawsight.evaluate.metric_values import MetricValue
from flawsight.evaluate.score_run import score_run
from flawsight.evaluate.summary import summary_table
from flawsight.inspector import Inspector
from flawsight.runs.read import read_array
from flawsight.runs.trace_store import TraceFolder, load_trace, save_trace
from flawsight.settings import PRESETS
from flawsight_surfaces import render_pair
from helpers.bundled import FEW, FEW_PAPER
from helpers.generating import generate


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.from_pretrained(device="cpu", settings=FEW, batch_size=3)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two products with two twins each, masks beside them."""
    rng = np.random.default_rng(5)
    samples = []
    for category in ("disc", "plate"):
        for index in range(4):
            for sample in render_pair(rng, (90, 110)):
                stem = tmp_path / "data" / category / f"{index}{sample.label}"
                stem.parent.mkdir(parents=True, exist_ok=True)
                image, mask = stem.with_suffix(".png"), None
                Image.fromarray(sample.image).save(image)
                if sample.label:
                    mask = stem.with_name(f"{stem.name}_mask.png")
                    Image.fromarray(sample.gt_mask).save(mask)
                samples.append(
                    Sample(
                        image, sample.label, category, "test", "bad" if sample.label else "good",
                        mask, reference="There is a dent." if sample.label else "Nothing is wrong.",
                    )
                )  # fmt: skip
    return Dataset("parts", tmp_path / "data", tuple(samples))


class Scripted:
    """Gives scripted predictions; records the images it gets."""

    def __init__(self, name: str, script: dict[str, Prediction | FlawsightError]) -> None:
        self.name, self.batch_size, self.script = name, 3, script
        self.asked: list[Path] = []
        self.quits_after = 10**9

    def about(self) -> dict[str, Any]:
        return {"kind": "scripted"}

    def predict(self, images: Sequence[Path]) -> list[Prediction | FlawsightError]:
        if len(self.asked) >= self.quits_after:
            raise DetectorError("The key is refused.")
        self.asked += images
        return [self.script[str(image)] for image in images]


def scripted(dataset: Dataset, seed: int = 0, maps: bool = True) -> Scripted:
    rng = np.random.default_rng(seed)
    script: dict[str, Prediction | FlawsightError] = {}
    for sample in dataset.samples:
        score = float(rng.random() + 0.3 * sample.label)
        script[str(sample.image)] = Prediction(
            pred_score=score,
            pred_label=score > 0.6,
            anomaly_map=rng.random((90, 110), dtype=np.float32) if maps else None,
            explanation="There is a dent.",
            # The verdict alone disagrees; that is no contradiction of the table's.
            contradiction=True,
            details={"disagreements": ["verdict/answer", "verdict/reasoning"]},
        )
    return Scripted("scripted", script)


def value(values: list[MetricValue], metric: str, group: str = "pooled") -> float | None:
    (found,) = [v for v in values if v.metric == metric and v.group == group]
    return found.value


def ignore(_row: dict) -> None: ...


def test_a_trace_on_disk_is_the_trace(inspector: Inspector, tmp_path: Path) -> None:
    image = Image.fromarray(render_pair(np.random.default_rng(1), (80, 120))[1].image)
    (trace,) = generate(inspector.mllm, [image], inspector.settings)
    save_trace(tmp_path / "t.npz", trace)
    loaded = load_trace(tmp_path / "t.npz")
    assert loaded is not None
    for name in ("text", "token_spans", "answer_margin", "answer_forced"):
        assert getattr(loaded, name) == getattr(trace, name)
    for name in ("image_attention", "question_attention", "anomaly_tokens"):
        torch.testing.assert_close(getattr(loaded, name), getattr(trace, name), rtol=0, atol=0)
    (tmp_path / "t.npz").write_bytes((tmp_path / "t.npz").read_bytes()[:200])
    assert load_trace(tmp_path / "t.npz") is None
    assert load_trace(tmp_path / "none.npz") is None


def test_traces_are_kept_apart_by_all_that_changes_them_and_nothing_else(
    inspector: Inspector, tmp_path: Path
) -> None:
    def folder(**values: object) -> Path:
        settings = replace(PRESETS["paper"], **values)
        return TraceFolder(tmp_path, inspector.mllm, settings, None).folder

    assert folder(tau_t=0.9, guided_filter=True) == folder()
    closer = [folder(crops=3, crop_share=0.5), folder(crops=3, crop_token_share=0.5)]
    others = [folder(crops=3), folder(crops=2), *closer, folder(seed=3)]
    assert len({folder(), *others}) == 6


def test_the_detector_gives_the_inspections_and_generates_once(
    inspector: Inspector, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [sample.image for sample in dataset.samples[:3]]

    def detector(**values: object) -> FlawsightDetector:
        settings = replace(FEW_PAPER, **values)
        store = TraceFolder(tmp_path / "traces", inspector.mllm, settings, None)
        return FlawsightDetector(
            "flawsight", Inspector(inspector.mllm, settings, trace_store=store)
        )

    alone = Inspector(inspector.mllm, replace(FEW_PAPER, selection="vanilla"))
    predictions = detector(selection="vanilla").predict(images)
    for prediction, inspection in zip(predictions, alone(images), strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.pred_label is inspection.pred_label
        assert prediction.pred_score == pytest.approx(inspection.pred_score, abs=1e-5)
        np.testing.assert_allclose(prediction.anomaly_map, inspection.anomaly_map, atol=1e-5)
        assert prediction.explanation == inspection.explanation

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("generated again")

    monkeypatch.setattr(inspector.mllm.model, "generate", forbidden)
    monkeypatch.setattr("flawsight.ask.generate", forbidden)
    images.append(tmp_path / "missing.png")
    *others, failed = detector().predict(images)
    assert isinstance(failed, ImageError)
    for one, other in zip(predictions, others, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        assert one.pred_score == other.pred_score
        assert not np.array_equal(one.anomaly_map, other.anomaly_map)


def test_a_stopped_run_is_resumed_and_tables_need_no_detector(
    dataset: Dataset, tmp_path: Path
) -> None:
    detector = scripted(dataset)
    detector.quits_after = 6
    with pytest.raises(DetectorError, match="key is refused"):
        run_detector(tmp_path / "out", dataset, detector, ignore)
    assert len(detector.asked) == 6
    (part,) = read_detector_runs(tmp_path / "out")
    assert score_run(part, resamples=20)[1][-1].missing == 10
    detector.quits_after = 10**9
    whole = run_detector(tmp_path / "out", dataset, detector, ignore)
    assert len(detector.asked) == len(set(detector.asked)) == 16
    (read,) = read_detector_runs(tmp_path / "out")
    assert read == whole
    assert score_run(read, resamples=20) == score_run(whole, resamples=20)
    detector.about = lambda: {"kind": "another"}  # type: ignore[method-assign]
    with pytest.raises(RunFolderError, match="kind scripted"):
        run_detector(tmp_path / "out", dataset, detector, ignore)


def test_values_are_those_of_independent_implementations(dataset: Dataset, tmp_path: Path) -> None:
    detector = scripted(dataset)
    run = run_detector(tmp_path / "out", dataset, detector, ignore)
    values, counts = score_run(run, resamples=200)
    labels = [s.label for s in dataset.samples]
    said = [detector.script[str(s.image)] for s in dataset.samples]
    scores = [p.pred_score for p in said if isinstance(p, Prediction)]
    assert value(values, "image_auroc") == pytest.approx(roc_auc_score(labels, scores))
    verdicts = [score > 0.6 for score in scores if score is not None]
    assert value(values, "image_balanced_accuracy") == pytest.approx(
        balanced_accuracy_score(labels, verdicts)
    )
    per_category = [roc_auc_score(labels[i : i + 8], scores[i : i + 8]) for i in (0, 8)]
    assert value(values, "image_auroc", "disc") == pytest.approx(per_category[0])
    assert value(values, "image_auroc", "macro") == pytest.approx(np.mean(per_category))
    truth, marks = [], []
    for sample, prediction in zip(dataset.samples, said, strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.anomaly_map is not None
        mask = np.zeros((90, 110), bool)
        if sample.mask:
            mask = np.asarray(Image.open(sample.mask)) > 0
        truth.append(mask.ravel())
        marks.append(prediction.anomaly_map.astype(np.float16).ravel())
    expected = roc_auc_score(np.concatenate(truth), np.concatenate(marks))
    assert value(values, "pixel_auroc") == pytest.approx(expected, abs=1e-6)
    assert value(values, "contradiction_rate") == 0
    assert value(values, "sbert") is None
    rouge = value(values, "rouge_l")
    assert rouge is not None
    assert 0.5 < rouge < 1
    for one in values:
        if one.low is not None and one.high is not None:
            assert one.low <= one.high
    assert [c.group for c in counts] == ["disc", "plate", "pooled", "macro"]


def test_a_failed_image_counts_against_its_detector(dataset: Dataset, tmp_path: Path) -> None:
    detector = scripted(dataset)
    perfect = {
        str(s.image): Prediction(pred_score=float(s.label), pred_label=bool(s.label))
        for s in dataset.samples
    }
    failing = dataset.samples[1]
    assert failing.label == 1
    detector.script = {**perfect, str(failing.image): ImageError("broken")}
    run = run_detector(tmp_path / "out", dataset, detector, ignore)
    values, counts = score_run(run, resamples=20)
    assert counts[-1].failed == 1
    assert value(values, "image_accuracy") == pytest.approx(15 / 16)
    assert value(values, "image_auroc") == pytest.approx(7 / 8)


def test_a_damaged_map_counts_as_unmarked_and_is_named(dataset: Dataset, tmp_path: Path) -> None:
    run = run_detector(tmp_path / "out", dataset, scripted(dataset), ignore)
    before, _ = score_run(run, resamples=20)
    rows = run.rows()
    broken = next(s for s in dataset.samples if s.label == 1)
    maps = [read_array(run.folder, rows[str(s.image)], "anomaly_map") for s in dataset.samples]
    maps[dataset.samples.index(broken)][:] = -1
    masks = [read_gt_mask(s, (90, 110)) for s in dataset.samples]
    (run.folder / rows[str(broken.image)]["anomaly_map"]).write_bytes(b"PK torn")
    values, counts = score_run(run, resamples=20)
    expected = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert value(values, "pixel_auroc") == pytest.approx(expected, abs=1e-4)
    assert value(values, "image_auroc") == value(before, "image_auroc")
    assert counts[-1].failed == 0
    notes = summary_table([read_verdicts(run)], values).notes
    assert notes[-1].startswith("1 damaged maps count as unmarked: maps/")


def test_what_a_detector_does_not_say_has_no_value(dataset: Dataset, tmp_path: Path) -> None:
    detector = scripted(dataset)
    detector.script = {str(s.image): Prediction(pred_label=True) for s in dataset.samples}
    values, _ = score_run(run_detector(tmp_path / "out", dataset, detector, ignore), resamples=20)
    assert value(values, "image_auroc") is None
    assert value(values, "pixel_auroc") is None
    assert value(values, "image_balanced_accuracy") == 0.5


def test_a_score_that_is_no_number_is_a_failure(dataset: Dataset, tmp_path: Path) -> None:
    detector = scripted(dataset)
    detector.script[str(dataset.samples[0].image)] = Prediction(pred_score=float("nan"))
    _, counts = score_run(run_detector(tmp_path / "o", dataset, detector, ignore), resamples=20)
    assert counts[-1].failed == 1


def test_a_folder_without_a_bench_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no bench"):
        read_detector_runs(tmp_path)
    with pytest.raises(RunFolderError, match="share the folder"):
        check_names(["a b", "a  b"], [])


@pytest.mark.parametrize(
    ("text", "kind", "argument", "options"),
    [
        ("flawsight", "flawsight", None, {}),
        ("flawsight:preset=paper", "flawsight", None, {"preset": "paper"}),
        ("flawsight:Qwen/X,tau_t=0.4,layers=[1,2]", "flawsight", "Qwen/X",
         {"tau_t": 0.4, "layers": [1, 2]}),
        ("flawsight,name=ours", "flawsight", None, {"name": "ours"}),
        ("run:/some/folder", "run", "/some/folder", {}),
        ("openai:gpt-4o,budget=5", "openai", "gpt-4o", {"budget": 5}),
    ],
)  # fmt: skip
def test_specs(text: str, kind: str, argument: str | None, options: dict) -> None:
    spec = parse_spec(text)
    assert (spec.kind, spec.argument, spec.options) == (kind, argument, options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet", "choose one of flawsight"),
        ("flawsight,fast", "NAME=VALUE"),
        ("flawsight,tau=1", "Unknown settings: tau"),
        ("vlm", "lacks its model"),
        ("run", "lacks its folder"),
        ("texture,depth=3", "texture,depth=3': Unknown settings: depth"),
        ("textrue", "is it texture"),
        ("texture,bitdepth=8", "is it bit_depth"),
        ("openai:gpt-4o,budgt=3", "is it budget"),
        ("openai:gpt-4o,cache=x", "Unknown settings: cache"),
        ("run:/nowhere,naem=x", "is it name"),
    ],
)
def test_a_wrong_spec_is_explained(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        open_detector(parse_spec(text), tmp_path, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flawsight,adaptor=x", "is it adapter"),
        ("flawsight:,refrence=4", "is it reference"),
        ("flawsight,TAU_T=0", "is it tau_t"),
        ("flawsight,image-tokens=64", "is it image_tokens"),
        ("flawsight,pre=paper", "is it preset"),
        ("vlm:/nowhere,max_tokens=64", "is it max_new_tokens"),
        ("vlm:/nowhere,dtpye=float32", "is it dtype"),
        ("vlm:/nowhere,mllm=x", "Unknown settings: mllm"),
    ],
)
def test_a_mistyped_option_is_named_before_a_model_is_loaded(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        needs_model(parse_spec(text))


@pytest.mark.parametrize(
    "text",
    ["flawsight,device=cpu,name=a,preset=paper,tau_t=0.3", "vlm:/nowhere,batch_size=2,device=cpu",
     "vlm:/nowhere,adapter=a,max_new_tokens=9,bit_depth=12,name=b"],
)  # fmt: skip
def test_options_that_are_some_are_taken(text: str) -> None:
    assert needs_model(parse_spec(text))


def test_truth_is_what_was_given(dataset: Dataset, tmp_path: Path) -> None:
    run_detector(tmp_path / "out", dataset, scripted(dataset, maps=False), ignore)
    lines = (tmp_path / "out/parts/truth.jsonl").read_text().splitlines()
    assert [Sample.from_json(json.loads(line)) for line in lines[1:]] == list(dataset.samples)


def test_without_a_mask_there_are_no_pixel_metrics_and_the_table_says_why(
    dataset: Dataset, tmp_path: Path
) -> None:
    def scored(missing: set[str]) -> list[MetricValue]:
        samples = tuple(
            replace(s, mask=None) if s.category in missing else s for s in dataset.samples
        )
        part = replace(dataset, name="-".join(["set", *missing]), samples=samples)
        run = run_detector(tmp_path / "bench", part, scripted(part), ignore)
        return score_run(run, resamples=3)[0]

    (found,) = {
        (v.value, v.note) for v in scored({"disc", "plate"})
        if v.metric.startswith("pixel") and v.group in ("pooled", "macro")
    }  # fmt: skip
    assert found == (None, "no pixel metrics: no mask with a defective pixel was read")
    values = scored({"disc"})
    assert value(values, "pixel_accuracy", "disc") is None
    assert value(values, "pixel_accuracy", "plate") is not None
    (pooled,) = (v for v in values if (v.metric, v.group) == ("pixel_aupro", "pooled"))
    assert pooled.note == "without 4 defective images that have no mask"
    assert not any(v.note for v in scored(set()))
