"""The paper's ablations as detectors: the rows of its tables and the choices it leaves open."""

from collections.abc import Iterator

from ..errors import ModelError

# One change from preset `paper` at a time. S_T only, S_I only: the other score neither filters nor
# weights tokens (paper, selection ablation).
_SELECTION = {
    "vanilla": "selection=vanilla",
    "ReAL": "",
    "S_T only": "beta=0,tau_i=-1",
    "S_I only": "alpha=0,tau_t=-1",
}
_THRESHOLDS = (0.0, 0.1, 0.25, 0.4, 0.6)
_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LAYERS = 8


def ablation_specs(model: str | None, r1: str | None, cgro: str | None) -> list[str]:
    """Return the detectors of the ablation grid.

    Vanilla, ReAL and each score alone for the base model and for each adapter given; the attention
    row, τ_t, τ_i, α : β and single layers (at most eight, evenly spaced) for the last of them.
    Detectors that differ only in selection share their responses.

    Args:
        model: the base model; None is the bundled one.
        r1: adapter trained by GRPO without R_cons, or None.
        cgro: adapter trained by CGRO, or None.

    Raises:
        ModelError: if the model's configuration cannot be read.
    """
    trained = {"base": None, "R1": r1, "CGRO": cgro}
    present = {name: path for name, path in trained.items() if name == "base" or path}
    specs = [
        _spec(model, adapter, f"{name}, {label}", change)
        for name, adapter in present.items()
        for label, change in _SELECTION.items()
    ]
    name, adapter = list(present.items())[-1]
    swept = _swept(_layer_count(model))
    return specs + [_spec(model, adapter, f"{name}, {label}", change) for label, change in swept]


def _layer_count(model: str | None) -> int:
    from transformers import AutoConfig

    from ..mllm.load import DEFAULT_MODEL

    try:
        config = AutoConfig.from_pretrained(DEFAULT_MODEL if model is None else model)
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read the configuration of {model}: {error}") from error
    count: int = config.get_text_config().num_hidden_layers
    return count


def _swept(layers: int) -> Iterator[tuple[str, str]]:
    yield "attention_row previous", "attention_row=previous"
    for tau in _THRESHOLDS:
        yield f"tau_t {tau}", f"tau_t={tau}"
    for tau in _THRESHOLDS:
        yield f"tau_i {tau}", f"tau_i={tau}"
    for alpha in _WEIGHTS:
        yield f"alpha {alpha}", f"alpha={alpha},beta={1 - alpha}"
    shown = min(layers, _LAYERS)
    for layer in sorted({round(i * (layers - 1) / max(1, shown - 1)) for i in range(shown)}):
        yield f"layer {layer}", f"layers=[{layer}]"


def _spec(model: str | None, adapter: str | None, name: str, change: str) -> str:
    parts = ["flawsight" if model is None else f"flawsight:{model}", "preset=paper"]
    if adapter is not None:
        parts.append(f"adapter={adapter}")
    if change:
        parts.append(change)
    return ",".join([*parts, f"name={name.replace(',', ' ·')}"])
