"""The pages of the Python reference: mkdocstrings fills them from the docstrings."""

from collections.abc import Mapping, Sequence

# Page → title, a sentence, and what it documents.
API_PAGES: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "inspector": (
        "Inspector",
        "The one path that everything takes: prepare → trace → localize.",
        [
            "flawsight.inspector.Inspector",
            "flawsight.localize.localize",
            "flawsight.localize.judged",
        ],
    ),
    "results": (
        "Results",
        "What an inspection returns, and what the stages before it hand on.",
        ["flawsight.inspection"],
    ),
    "settings": (
        "Settings",
        "Every choice of the method, as one frozen object.",
        ["flawsight.settings.Settings", "flawsight.settings.PRESETS", "flawsight.settings.preset"],
    ),
    "good-photos": (
        "Good photos, calibration",
        "What good parts look like, and thresholds with a promised rate of false alarms.",
        [
            "flawsight.reference.memory.Reference",
            "flawsight.reference.learn.learn",
            "flawsight.reference.push_reference.push_reference",
            "flawsight.reference.compare",
            "flawsight.calibration",
        ],
    ),
    "method": (
        "The method",
        "ReAL, and one step beyond the paper per module. Arrays in, arrays out.",
        [
            "flawsight.real.scores",
            "flawsight.real.token_selection",
            "flawsight.real.anomaly_map",
            "flawsight.real.regions",
            "flawsight.refine.attention_prior",
            "flawsight.refine.feature_distance",
            "flawsight.refine.crops",
            "flawsight.refine.guided_filter",
            "flawsight.mllm.load",
        ],
    ),
    "training": (
        "Training",
        "CGRO: rewards, advantages, loss.",
        [
            "flawsight.cgro.rewards",
            "flawsight.cgro.score_rollout",
            "flawsight.cgro.loss",
            "flawsight.cgro.train_settings",
            "flawsight.cgro.push_adapter",
        ],
    ),
    "metrics": (
        "Metrics",
        "Pure functions of labels and scores.",
        [
            "flawsight.metrics.ranking",
            "flawsight.metrics.pixel_counts",
            "flawsight.metrics.region_recall",
            "flawsight.metrics.bootstrap",
            "flawsight.metrics.text_overlap",
        ],
    ),
    "data": (
        "Data and runs",
        "Labelled photos, run folders, detectors to compare with.",
        [
            "flawsight.data.dataset",
            "flawsight.data.open",
            "flawsight.runs.read",
            "flawsight.evaluate.detectors.protocol",
            "flawsight.export.write_export",
        ],
    ),
    "integrations": (
        "Integrations",
        "For anomalib and TRL.",
        [
            "flawsight.integrations.anomalib",
            "flawsight.integrations.anomalib_predictions",
            "flawsight.integrations.trl",
        ],
    ),
    "surfaces": (
        "Rendered surfaces",
        "Pairs of normal and defective images with exact masks.",
        [
            "flawsight_surfaces.pairs.render_pair",
            "flawsight_surfaces.sample",
            "flawsight_surfaces.make_dataset",
        ],
    ),
    "errors": (
        "Errors",
        "What a user can cause and mend. Each message says what to do.",
        ["flawsight.errors"],
    ),
}


def api_page(name: str) -> str:
    """Return a page's Markdown."""
    title, sentence, documented = API_PAGES[name]
    parts = [f"# {title}", sentence]
    for one in documented:
        parts.append(f"::: {one}")
        if one.endswith(("Settings", "inspection")):
            parts[-1] += "\n    options:\n      inherited_members: true"
    return "\n\n".join(parts) + "\n"
