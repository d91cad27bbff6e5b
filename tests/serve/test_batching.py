"""The queue: batches, slots, deadlines, hang-ups, stopping. The model is a stand-in."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flawsight.errors import AnswerError, BusyError, FlawsightError, ModelError
from flawsight.inspection import Inspection
from flawsight.serve.batching import Batcher, inspect_separately

SECONDS = 10


def inspection(image: Image.Image) -> Inspection:
    return Inspection(
        None, (image.height, image.width), True, 0.75, np.zeros((2, 2), np.float32), "Yes", "",
        False, (), np.zeros((0, 1, 1), np.float32), {}, 0.0,
    )  # fmt: skip


class Model:
    """Stands in for the Inspector: waits at a gate, and notes the batches it is given."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, images: Sequence[Image.Image]) -> list[Inspection | FlawsightError]:
        self.batches.append([image.width for image in images])
        assert self.gate.wait(SECONDS)
        return [inspection(image) for image in images]


def images(*widths: int) -> list[Image.Image]:
    return [Image.new("L", (width, 1)) for width in widths]


def run(scenario: Callable[[Batcher, Model], Awaitable[Any]], slots: int = 8) -> Model:
    model = Model()

    async def within() -> None:
        batcher = Batcher(3, slots)
        try:
            await asyncio.wait_for(scenario(batcher, model), SECONDS)
        finally:
            model.gate.set()
            await batcher.stop()

    asyncio.run(within())
    return model


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_what_waits_goes_together() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        first = asyncio.create_task(batcher.inspect(images(1), model))
        await until(lambda: model.batches == [[1]])
        later = [
            asyncio.create_task(batcher.inspect(images(*w), model)) for w in ((2, 3), (4,), (5, 6))
        ]
        await asyncio.sleep(0)
        model.gate.set()
        results = await asyncio.gather(first, *later)
        sizes = [[r.image_size[1] for r in one if isinstance(r, Inspection)] for one in results]
        assert sizes == [[1], [2, 3], [4], [5, 6]]

    assert run(scenario).batches == [[1], [2, 3, 4], [5, 6]]


def test_a_batch_is_of_one_product_and_the_longest_wait_goes_first() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        other = Model()
        other.gate, other.batches = model.gate, model.batches
        first = asyncio.create_task(batcher.inspect(images(1), model))
        await until(lambda: model.batches == [[1]])
        later = [
            asyncio.create_task(batcher.inspect(images(*widths), using))
            for widths, using in (
                ((20, 21), other), ((2, 3), model), ((22, 23), other), ((4,), model),
            )
        ]  # fmt: skip
        await asyncio.sleep(0)
        model.gate.set()
        results = await asyncio.gather(first, *later)
        sizes = [[r.image_size[1] for r in one if isinstance(r, Inspection)] for one in results]
        assert sizes == [[1], [20, 21], [2, 3], [22, 23], [4]]

    assert run(scenario).batches == [[1], [20, 21, 22], [2, 3, 4], [23]]


def test_a_cancelled_image_leaves_the_queue_and_is_not_inspected() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        running = asyncio.create_task(batcher.inspect(images(1), model))
        await until(lambda: bool(model.batches))
        gone = asyncio.create_task(batcher.inspect(images(2, 3), model))
        stays = asyncio.create_task(batcher.inspect(images(4), model))
        await asyncio.sleep(0)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        model.gate.set()
        await running
        assert len(await stays) == 1

    assert run(scenario).batches == [[1], [4]]


def test_a_cancelled_image_that_runs_harms_nobody() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        gone = asyncio.create_task(batcher.inspect(images(1), model))
        await until(lambda: bool(model.batches))
        gone.cancel()
        stays = asyncio.create_task(batcher.inspect(images(2), model))
        await asyncio.sleep(0)
        model.gate.set()
        assert isinstance((await stays)[0], Inspection)

    run(scenario)


def test_slots_are_bounded_and_given_back() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        with batcher.admit() as admission:
            admission.take(3)
            with batcher.admit(), pytest.raises(BusyError, match="full"), batcher.admit():
                pass
            assert batcher.in_flight == 3
            with pytest.raises(BusyError):
                admission.take(5)
            assert batcher.in_flight == 3
        assert batcher.in_flight == 0

    run(scenario, slots=4)


def test_a_body_that_drips_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    async def scenario(batcher: Batcher, model: Model) -> None:
        nonlocal now
        with batcher.admit() as drips, batcher.admit() as flows:
            with pytest.raises(BusyError), batcher.admit():
                pass
            now = 10.0
            flows.receive(100_000)
            drips.receive(10)
            with batcher.admit() as third:
                third.take(1)
                with pytest.raises(BusyError):
                    drips.take(1)
                flows.take(1)
                assert batcher.in_flight == 3
            drips.take(1)

    run(scenario, slots=2)


def test_stopping_finishes_what_runs_and_refuses_what_waits() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        parted = asyncio.create_task(batcher.inspect(images(1, 2, 3, 4), model))
        await until(lambda: bool(model.batches))
        waits = asyncio.create_task(batcher.inspect(images(5), model))
        await asyncio.sleep(0)
        batcher.close()
        assert isinstance((await waits)[0], BusyError)
        assert not batcher.alive
        with pytest.raises(BusyError, match="stopping"), batcher.admit():
            pass
        assert isinstance((await batcher.inspect(images(6), model))[0], BusyError)
        model.gate.set()
        kinds = [type(outcome) for outcome in await parted]
        assert kinds == [Inspection, Inspection, Inspection, BusyError]

    assert run(scenario).batches == [[1, 2, 3]]


def test_an_image_on_which_the_model_raises_fails_alone() -> None:
    def fragile(batch: Sequence[Image.Image]) -> list[Inspection | FlawsightError]:
        if any(image.width == 2 for image in batch):
            raise RuntimeError("a secret of the model")
        return [AnswerError("none") if image.width == 3 else inspection(image) for image in batch]

    outcomes = inspect_separately(fragile, images(1, 2, 3, 4))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Inspection, ModelError, AnswerError, Inspection]
    assert "secret" not in str(outcomes[1])


def test_nothing_is_lost_or_mixed_up_under_load() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        model.gate.set()

        async def client(width: int) -> bool:
            task = asyncio.create_task(batcher.inspect(images(width, width + 1000), model))
            await asyncio.sleep(0.0005 * (width % 3))
            if width % 5 == 0:
                task.cancel()
            try:
                first, second = await task
            except asyncio.CancelledError:
                return width % 5 == 0
            assert isinstance(first, Inspection)
            assert isinstance(second, Inspection)
            return (first.image_size[1], second.image_size[1]) == (width, width + 1000)

        assert all(await asyncio.gather(*(client(width) for width in range(1, 200))))

    began = time.perf_counter()
    run(scenario)
    assert time.perf_counter() - began < SECONDS
