"""What decoding an image is charged for is what it takes, and a lack of memory is said."""

import io
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.errors import TransientError
from influencerai_dagster.media import decoding
from influencerai_dagster.media.decoding import DECODING
from influencerai_dagster.media.images import measure_upload, normalised_image
from influencerai_dagster.media.memory_budget import MemoryBudget
from influencerai_dagster_tests.testing.colour_profiles import display_p3

WIDTH_PX, HEIGHT_PX = 2000, 1800
MIB = 1024**2
RULES = DatasetRules()


def noise(mode: str = "RGB") -> Image.Image:
    """An image that no format makes small."""
    small = np.random.default_rng(1).integers(0, 256, (260, 300, len(mode)), dtype=np.uint8)
    return Image.fromarray(small, mode).resize((WIDTH_PX, HEIGHT_PX))


def sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("RGB", "JPEG", {}),
    "JPEG, progressive, turned, with a profile": (
        "RGB",
        "JPEG",
        {"progressive": True, "subsampling": 0, "exif": "sideways", "icc_profile": "P3"},
    ),
    "PNG": ("RGB", "PNG", {"compress_level": 1}),
    "PNG, transparent, turned, with a profile": (
        "RGBA",
        "PNG",
        {"compress_level": 1, "exif": "sideways", "icc_profile": "P3"},
    ),
    "PNG, palette": ("P", "PNG", {"compress_level": 1}),
    "PNG, 1 bit": ("1", "PNG", {}),
    "WEBP": ("RGB", "WEBP", {"method": 0}),
    "WEBP, lossless, transparent, turned, with a profile": (
        "RGBA",
        "WEBP",
        {"lossless": True, "method": 0, "quality": 0, "exif": "sideways", "icc_profile": "P3"},
    ),
}


def file_of(kind: str) -> bytes:
    mode, image_format, options = KINDS[kind]
    image = noise(mode) if mode in {"RGB", "RGBA"} else noise("RGB").convert(mode)
    values = {"sideways": sideways(), "P3": display_p3()}
    options = {name: values.get(value, value) for name, value in options.items()}
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


class Charged(MemoryBudget):
    """A budget that notes the most that was asked for."""

    most_bytes = 0

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        self.most_bytes = max(self.most_bytes, size_bytes)
        yield


def charge_and_peak(data: bytes, work: str) -> tuple[int, int]:
    """Return what the work was charged for, and how much the process grew, both in bytes."""
    functions: dict[str, Callable[[bytes], object]] = {
        "scan": lambda content: measure_upload(content, RULES),
        "copy": normalised_image,
    }
    output = io.BytesIO()
    Image.new("RGB", (300, 300)).save(output, "WEBP")
    functions[work](output.getvalue())  # every import is done
    DECODING.__class__ = Charged  # in a process of its own
    DECODING.most_bytes = 0  # type: ignore[attr-defined]
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    functions[work](data)
    return DECODING.most_bytes, _status("VmHWM") - before  # type: ignore[attr-defined]


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: what other tests hold is not in its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' peak of RSS")
@pytest.mark.parametrize("work", ["scan", "copy"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_image_takes_more_memory_than_it_was_charged_for(
    process: ProcessPoolExecutor, kind: str, work: str
) -> None:
    charged, peak = process.submit(charge_and_peak, file_of(kind), work).result()
    assert peak <= charged + 4 * MIB


def test_a_progressive_jpeg_is_charged_for_its_coefficients_whatever_codes_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huffman = file_of("JPEG, progressive, turned, with a profile")
    charges = []
    for data in (huffman, huffman.replace(b"\xff\xc2", b"\xff\xca")):  # as jpegtran -arithmetic
        budget = Charged("test", 1024**3)
        monkeypatch.setattr(decoding, "DECODING", budget)
        measure_upload(data, RULES)
        charges.append(budget.most_bytes)
    assert charges[0] == charges[1] > 0


def told_under_a_limit(data: bytes) -> list[str]:
    measure_upload(normalised_image(file_of("PNG, 1 bit")), RULES)  # every import is done
    in_use = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * 4096
    works: list[Callable[[], object]] = [
        lambda: measure_upload(data, RULES),
        lambda: normalised_image(data),
    ]
    reported = []
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    for work in works:
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 10 * MIB, unlimited[1]))
        try:
            reported.append(str(work()))
        except TransientError as error:
            reported.append(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, unlimited)
    return reported


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' size of a process")
def test_too_little_memory_is_a_passing_failure_and_says_nothing_of_the_file(
    process: ProcessPoolExecutor,
) -> None:
    output = io.BytesIO()
    Image.new("RGB", (6000, 5000), "white").save(output, "PNG")
    for reported in process.submit(told_under_a_limit, output.getvalue()).result():
        assert reported.startswith(
            "this machine has too little free memory for an image of 6000×5000"
        )
