"""Is the captured attention that of eager attention, while generating and replaying?"""

import torch

from ..mllm.generate import generate
from .case import Case
from .finding import TOLERANCES, Finding, row_difference


def eager_attention(case: Case) -> Finding:
    """The captured rows of the first photo are those of stock transformers' eager attention."""
    prompts, [grid] = case.prompts, case.prompts.grids
    trace = case.replayed(case.response)
    columns, rows = prompts.columns[0], case.eager_rows
    image = grid.to_map(rows[:, columns[: grid.tokens]])
    wanted = torch.cat([image.flatten(1), rows[:, columns[grid.tokens :]]], dim=1)
    found = torch.cat([trace.image_attention.flatten(1), trace.question_attention], dim=1)
    difference, tolerance = row_difference(found, wanted), TOLERANCES[case.mllm.model.dtype].rows
    values = {"difference": difference, "tolerance": tolerance, "tokens": len(rows)}
    ok = difference <= tolerance
    message = f"captured rows of {len(rows)} tokens are {_percent(difference)} off eager "
    message += f"attention's (tolerance {_percent(tolerance)})"
    if not ok:
        message += ": do not trust maps. Try --attention sdpa or --dtype float32, and report this"
    return Finding("eager attention", ok, message, values)


def generation_and_replay(case: Case) -> Finding:
    """A generated response has the text, rows and P(Yes) of its replay."""
    tolerance = TOLERANCES[case.mllm.model.dtype]
    [made] = generate(case.mllm, case.prompts, case.greedy)
    again = case.replayed(case.response)
    values: dict[str, object] = {"text": made.text}
    if (made.text, made.token_spans) != (again.text, again.token_spans):
        message = f"replay reads {again.text[:60]!r}, generation {made.text[:60]!r}: crops, "
        message += "--generator and training are wrong. Report this"
        return Finding("replay", False, message, values | {"replayed": again.text})
    rows = row_difference(made.image_attention, again.image_attention)
    nats, margin = abs(made.answer_margin - again.answer_margin), abs(again.answer_margin)
    values |= {"rows": rows, "rows_tolerance": tolerance.rows, "nats": nats, "margin": margin}
    most = tolerance.nats * max(1, margin / 10)
    ok = rows <= tolerance.rows and nats <= most
    message = f"generated and replayed rows are {_percent(rows)} apart (tolerance "
    message += f"{_percent(tolerance.rows)}), log P(Yes)/P(No) {nats:.2g} ({most:.2g})"
    if not ok:
        message += ": do not trust crops and --generator. Try --dtype float32, and report this"
    return Finding("replay", ok, message, values)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
