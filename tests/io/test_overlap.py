"""The three stages that overlap, and how many images a batch has."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from flawsight.io.overlap import overlapped
from flawsight.mllm import batch_size
from flawsight.mllm.load import MLLM
from flawsight.settings import Settings
from helpers.checkpoints import photo
from helpers.generating import generate

SETTINGS = Settings(image_tokens=None, max_new_tokens=12)


def test_the_stages_do_every_batch_in_order() -> None:
    finished: list[int] = []
    overlapped(range(5), lambda n: n + 1, lambda n: n * 10, finished.append)
    assert finished == [10, 20, 30, 40, 50]
    overlapped([], int, int, finished.append)
    assert len(finished) == 5


def test_helpers_leave_the_cores_to_the_model() -> None:
    """A second set of OpenMP workers would slow down the first."""
    usual, threads = torch.get_num_threads(), set[int]()
    overlapped([1], torch.ones, torch.Tensor.sum, lambda _: threads.add(torch.get_num_threads()))
    assert threads == {1}
    assert torch.get_num_threads() == usual
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == usual


def test_the_stages_overlap_and_one_batch_waits_at_either_side() -> None:
    """The second batch is prepared while the first is run, and the first finished during it."""
    prepared, finished = threading.Event(), threading.Event()
    taken: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(4):
            taken.append(number)
            yield number

    def prepare(number: int) -> int:
        if number == 1:
            prepared.set()
        return number

    def run(number: int) -> int:
        assert len(taken) <= number + 2
        assert (prepared if number == 0 else finished).wait(10)
        return number

    overlapped(batches(), prepare, run, lambda _: finished.set())


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_an_error_of_any_stage_ends_it_after_what_was_made(stage: int) -> None:
    finished: list[int] = []

    def at(place: int, number: int) -> int:
        if place == stage and number == 2:
            raise ZeroDivisionError
        return number

    def finish(number: int) -> None:
        finished.append(at(2, number))

    with pytest.raises(ZeroDivisionError):
        overlapped(range(9), lambda n: at(0, n), lambda n: at(1, n), finish)
    # A third batch may be under way when the second one's end shows that it failed.
    assert finished[:2] == [0, 1]
    assert 2 not in finished


def test_the_batch_follows_the_free_memory(
    tiny_mllm: MLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_image = batch_size.image_bytes(tiny_mllm, SETTINGS)
    sizes = []
    for images in (0, 1, 5, 10**6):
        free = images * batch_size.MARGIN * an_image
        monkeypatch.setattr(batch_size, "free_bytes", lambda _, free=free: free)
        sizes.append(batch_size.images_at_once(tiny_mllm, SETTINGS))
    assert sizes == [1, 1, 5, batch_size.MOST["cpu"]]
    longer = dataclasses.replace(SETTINGS, max_new_tokens=1000)
    assert batch_size.image_bytes(tiny_mllm, longer) > an_image
    assert batch_size.free_bytes(torch.device("cpu")) > 2**20


def test_capture_adds_few_operations_to_a_step(
    tiny_mllm: MLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time on a shared machine cannot be tested; what torch is asked to do can."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            self.count += 1
            return function(*arguments, **(options or {}))

    def operations(new_tokens: int) -> int:
        some = dataclasses.replace(SETTINGS, max_new_tokens=new_tokens)
        with Counter() as counter:
            generate(tiny_mllm, [photo(112, 140, 1)] * 2, some)
        return counter.count

    monkeypatch.setattr(tiny_mllm.model.generation_config, "eos_token_id", -1)
    monkeypatch.setattr("flawsight.mllm.load.MLLM.end_tokens", set())
    captured = operations(65) - operations(1)
    monkeypatch.setattr("flawsight.mllm.capture.AttentionCapture.observe", lambda *_: None)
    rows = torch.zeros(2, 65, 64)
    monkeypatch.setattr("flawsight.mllm.capture.AttentionCapture.rows", rows)
    plain = operations(65) - operations(1)
    assert 1 < captured / plain < 1.05
