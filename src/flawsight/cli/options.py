"""Options of the verbs that load a model, told once."""

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str | None,
    typer.Option(help="Qwen2.5-VL folder or hub name. Default: the bundled small model."),
]
Adapter = Annotated[str | None, typer.Option(help="LoRA adapter, folder or hub name.")]
Preset = Annotated[str, typer.Option(help="Settings: paper or default.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; may be repeated."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images generated for at once.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps. Default: the best.")]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16, float16. Default: float32 on a CPU, else bfloat16."),
]
Attention = Annotated[str, typer.Option(help="sdpa or flash_attention_2.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Defective is a score above it, in place of the model's Yes."),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of the known data sets. Default: $FLAWSIGHT_DATA.")
]


def parse_settings(preset_name: str, overrides: list[str], seed: int) -> Any:
    """Return the settings of a preset with NAME=VALUE overrides.

    Raises:
        SettingsError: for an unknown preset or name, or a value that it cannot take.
    """
    from ..settings import Settings, parse_override, preset

    values = preset(preset_name).to_json() | {"seed": seed}
    return Settings.from_json(values | dict(parse_override(text) for text in overrides))
