"""Memory goes by what is decoded: large photos are reduced, and bodies and responses counted."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.exceptions import HTTPException

from flawsight.errors import BusyError
from flawsight.inspection import Region, RegionRule
from flawsight.io.images import Photo, open_image, prepare_image
from flawsight.real.regions import regions_of
from flawsight.refine.map_layers import pack_layers
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.photo_memory import (
    ByteBudget,
    PixelBudget,
    inspect_bounded,
    inspected_size,
)
from flawsight.serve.store import Store
from helpers.serving import BATCH, Service, as_json, inspect_batch, picture, stand_in
from helpers.wide_photos import png_16


def photo(mode: str, width: int, height: int, kind: str = "PNG", **more: Any) -> bytes:
    content = io.BytesIO()
    image = Image.radial_gradient("L").resize((width, height))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    if mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32) / 255)
    image.convert(mode).save(content, kind, **more)
    return content.getvalue()


def test_large_photos_are_reduced_and_told_in_their_own_pixels(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def model(images: Any) -> Any:
        read = [image.image if isinstance(image, Photo) else image for image in images]
        seen.extend(image.size for image in read)
        return inspect_batch(read)

    limits = Limits(rate=0, inspected_pixels=10_000)
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = [
        picture(100, 100),
        picture(400, 300),
        photo("RGB", 400, 300, "JPEG", exif=exif),
        photo("I;16", 300, 400),
        picture(400, 300)[:200],
    ]
    with TestClient(
        create_app(model, BATCH, Store(str(tmp_path)), limits), base_url="http://127.0.0.1"
    ) as client:
        answer = client.post("/v1/inspect", files=[("images", content) for content in contents])
        *results, failed = answer.json()["results"]
        assert "damaged" in failed["error"]["message"]
        sizes = [[100, 100], [300, 400], [400, 300], [400, 300]]
        assert [one["image_size"] for one in results] == sizes
        inspected = [one["inspected_size"] for one in results]
        assert inspected == [[100, 100], [86, 115], [115, 86], [115, 86]]
        assert seen == [(width, height) for height, width in inspected]
        url = f"/v1/inspections/{results[2]['id']}"
        assert Image.open(io.BytesIO(client.get(f"{url}/map.png").content)).size == (300, 400)
        assert client.get(f"{url}/photo").content == contents[2]


def test_regions_of_a_products_own_verdict_are_in_pixels_of_the_whole(tmp_path: Path) -> None:
    """The model says good; by the product's threshold the photo is defective."""
    density = torch.zeros(10, 10)
    density[9, 9] = 100

    def model(images: Any) -> Any:
        return [
            replace(
                stand_in(photo.image),
                pred_label=False,
                map_layers=pack_layers(density, [], photo.image.size[::-1]),
                region_rule=RegionRule(0.5, 0.6, False),
            )
            for photo in images
        ]

    limits = Limits(rate=0, inspected_pixels=10_000)
    app = create_app(model, BATCH, Store(str(tmp_path)), limits, thresholds={"bolt": 0.0})
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post(
            "/v1/inspect", files={"images": photo("RGB", 400, 300)}, data={"product": "bolt"}
        )
    (result,) = answer.json()["results"]
    assert (result["pred_label"], result["image_size"]) == (True, [300, 400])
    ((left, top, width, height),) = [region["box"] for region in result["regions"]]
    assert (left + width, top + height) == (400, 300)
    assert abs(left - 350) < 20
    assert abs(top - 260) < 20


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_a_reduced_photo_looks_as_the_whole_does(mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    kind = "TIFF" if mode in ("CMYK", "I", "F") else "PNG"
    content = photo(mode, 400, 300, kind, exif=exif)
    depth = 8 if mode == "I" else None
    seen: list[Image.Image] = []

    def model(images: Any) -> Any:
        seen.extend(photo.image for photo in images)
        return [stand_in(photo.image) for photo in images]

    image = open_image(content)
    (outcome,) = inspect_bounded(model, PixelBudget(10**6), 30_000, depth, [image])
    whole = prepare_image(open_image(content), bit_depth=depth)
    assert outcome.image_size == (whole.height, whole.width)  # type: ignore[union-attr]
    expected = whole.resize(seen[0].size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(seen[0], float) - np.asarray(expected, float))
    assert difference.mean() < 1.5


def test_a_reduced_photo_is_read_by_the_rules_of_whole_ones() -> None:
    """The bit depth counts, warnings are kept, and what shows nothing is refused."""
    ramp = np.tile(np.arange(300, dtype=np.uint16) * 13, (200, 1))
    damaged = photo("RGB", 300, 200, "JPEG", exif=b"Exif\0\0garbage")
    seen: list[Photo] = []

    def model(images: Any) -> Any:
        seen.extend(images)
        return [stand_in(photo.image) for photo in images]

    def inspect(content: bytes, depth: int | None) -> Any:
        images = [open_image(content)]
        return inspect_bounded(model, PixelBudget(10**6), 10_000, depth, images)[0]

    grey = io.BytesIO()
    Image.fromarray(ramp).save(grey, "PNG")
    for content in (grey.getvalue(), png_16(np.dstack([ramp] * 3))):
        for depth, brightest, warnings in ((12, 240, 0), (None, 13, 1)):
            inspect(content, depth)
            assert abs(np.asarray(seen[-1].image).max() - brightest) <= 3
            assert len(seen[-1].warnings) == warnings
    inspect(damaged, None)
    assert "EXIF" in seen[-1].warnings[0]
    flat = io.BytesIO()
    Image.new("RGB", (300, 200), "grey").save(flat, "PNG")
    assert "flat" in str(inspect(flat.getvalue(), None))


@given(
    height=st.integers(4, 12), width=st.integers(4, 12), down=st.integers(1, 4),
    across=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30)
def test_regions_are_enlarged_as_their_masks_are(
    height: int, width: int, down: int, across: int, seed: int
) -> None:
    anomaly_map = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    found = list(regions_of(anomaly_map, 0.6))

    def model(images: Any) -> Any:
        image = images[0]
        one = stand_in(image.image if isinstance(image, Photo) else image)
        return [one.__class__(**{**vars(one), "regions": tuple(found)})]

    whole = Image.radial_gradient("L").resize((width * across, height * down))
    (outcome,) = inspect_bounded(model, PixelBudget(10**6), height * width, None, [whole])
    enlarged: tuple[Region, ...] = outcome.regions  # type: ignore[union-attr]
    if down * across == 1:
        assert enlarged == tuple(found)
    elif inspected_size((height * down, width * across), height * width) == (height, width):
        for small, large in zip(found, enlarged, strict=True):
            expected = small.mask.repeat(down, 0).repeat(across, 1)
            np.testing.assert_array_equal(large.mask, expected)
            left, top, wide, high = large.box
            assert expected[top : top + high, left : left + wide].sum() == large.area
            assert large.area == small.area * down * across


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 10**6))
def test_no_photo_is_inspected_above_the_limit(height: int, width: int, pixels: int) -> None:
    inspected = inspected_size((height, width), pixels)
    assert min(inspected) >= 1
    assert inspected[0] * inspected[1] <= max(pixels, height, width)
    if height * width <= pixels:
        assert inspected == (height, width)


def test_bytes_are_counted_and_given_back() -> None:
    budget = ByteBudget(100)
    with budget.hold() as add, budget.hold() as other:
        add(60)
        with pytest.raises(BusyError):
            other(50)
        other(40)
        with pytest.raises(HTTPException):
            add(41)
    with budget.hold() as add:
        add(100)


def test_uploads_and_responses_beyond_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "held_bytes", 5000)
    app = create_app(inspect_batch, BATCH, Store(str(tmp_path)), Limits(rate=0))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        large = client.post("/v1/inspect", content=as_json(bytes(4000)), headers={
            "Content-Type": "application/json"})  # fmt: skip
        assert (large.status_code, large.json()["error"]["kind"]) == (413, "Refused")
        for _ in range(3):
            (one,) = client.post("/v1/inspect", files={"images": picture(20)}).json()["results"]
            assert client.get(f"/v1/inspections/{one['id']}/map.png").status_code == 200


def test_wide_pixels_count_twice(tmp_path: Path) -> None:
    limits = Limits(rate=0, pixels=10_000)
    with TestClient(
        create_app(inspect_batch, BATCH, Store(str(tmp_path)), limits), base_url="http://127.0.0.1"
    ) as client:
        for side, status in ((70, 200), (71, 422)):
            answer = client.post("/v1/inspect", files={"images": photo("F", side, side, "TIFF")})
            assert answer.status_code == status


@pytest.mark.slow
def test_memory_stays_below_its_bound_under_the_worst_mixes(tmp_path: Path) -> None:
    """With the real model, at the default limits but for the deadline."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from flawsight.cli import app; app()"
    options = ["--store", str(tmp_path / "store"), "--port", str(port), "--deadline", "900"]
    command = [sys.executable, "-c", code, "serve", *options, "--device", "cpu"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ.copy())
    service = Service(process, port)
    side = 5600
    contents = {
        "RGB": photo("RGB", side, side, compress_level=1),
        "RGBA": photo("RGBA", side, side, compress_level=1),
        "I;16": photo("I;16", side, side, compress_level=1),
        "F": photo("F", 4000, 3990, "TIFF", compression="tiff_adobe_deflate"),
        "JPEG": photo("RGB", side, side, "JPEG", progressive=True),
    }
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2300, 3), np.uint8)
    raw = io.BytesIO()
    Image.fromarray(noise).save(raw, "BMP")

    def send(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def post(*photos: bytes, include: str = "") -> tuple[int, list[str]]:
        status, content = 503, b""
        while status == 503:  # until there is room
            status, content = send("POST", f"/v1/inspect{include}", as_json(*photos))
            time.sleep(1)
        return status, [one["id"] for one in json.loads(content)["results"]]

    def peak() -> float:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024

    try:
        while True:
            try:
                if service.request("GET", "/readyz")[0] == 200:
                    break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
        post(picture(400, 300))
        before = service.resident()
        ids: list[str] = []
        with ThreadPoolExecutor(8) as clients:
            running = [clients.submit(post, *[one] * 2) for one in contents.values()]
            running += [clients.submit(post, *[raw.getvalue()] * 3) for _ in range(2)]
            for one in running:
                status, made = one.result()
                assert status == 200
                ids.append(made[0])
            files = ("overlay.png", "map.png", "map.npz", "photo.jpg")
            asked = [
                clients.submit(send, "GET", f"/v1/inspections/{id}/{name}")
                for id in ids
                for name in files
            ]
            included = clients.submit(post, contents["RGB"], include="?include=map.npz")
            assert {one.result()[0] for one in asked} <= {200, 503}
            assert included.result()[0] == 200
        print(f"before {before:.0f}, peak {peak():.0f}, after {service.resident():.0f} MiB")
        assert peak() < 1536
        assert service.resident() < before + 300
    finally:
        process.kill()
        process.wait()
