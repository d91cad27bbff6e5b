"""How fast the photos were traced, and whether the batch size's estimate of memory holds."""

from ..mllm.batch_size import MARGIN, free_bytes, image_bytes
from .case import Case
from .finding import Finding

# Of a process, beyond the estimate: libraries that load late, and threads.
PROCESS_BYTES = 256 << 20
# An estimate that is so many times too high wastes the GPU.
WASTED = 10


def speed(case: Case) -> Finding:
    """Show seconds per photo, and tokens per second."""
    traced = case.traced
    count, tokens = len(case.images), sum(len(trace.token_spans) for trace in traced.traces)
    values = {
        "seconds_per_photo": traced.seconds / count,
        "tokens_per_second": tokens / traced.seconds,
        "batch": traced.batch,
    }
    message = f"{traced.seconds / count:.2g} s per photo, {tokens / traced.seconds:.3g} tokens per "
    message += f"second, {traced.batch} photos at once"
    return Finding("speed", None, message, values)


def memory(case: Case) -> Finding:
    """The memory that a batch needs is at most the estimate that the batch size goes by."""
    traced, device = case.traced, case.mllm.device
    each = image_bytes(case.mllm, case.settings, len(case.inspector.prompt_photos))
    estimate = int(MARGIN * each) * traced.batch
    on_gpu = device.type == "cuda"
    limit = estimate if on_gpu else estimate + PROCESS_BYTES
    values = {"peak_bytes": traced.peak_bytes, "estimate_bytes": estimate, "batch": traced.batch}
    values["free_bytes"] = free_bytes(device)
    message = f"{_mib(traced.peak_bytes)} for {traced.batch} photos at once (estimate "
    message += f"{_mib(estimate)}, {_mib(values['free_bytes'])} free)"
    ok: bool | None = traced.peak_bytes <= limit
    if not ok:
        fits = max(1, traced.batch * limit // traced.peak_bytes)
        message += f": more than the estimate. If memory runs out, inspect with --batch-size {fits}"
    elif on_gpu and estimate > WASTED * traced.peak_bytes:
        ok = None
        message += f": inspect with a --batch-size over {case.inspector.batch_size}"
    return Finding("memory", ok, message, values)


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 10 << 30 else f"{count / 2**30:,.1f} GiB"
