"""Stage `captions`: write one caption for every image of a dataset.

A sidecar img.txt wins and is never overwritten; otherwise an auto-captioner describes the image;
otherwise it gets the class caption of the influencer. Auto captions live in the manifest only:
beside the uploads they would be sidecars of the next scan, and captioning would change the dataset.
"""

import codecs
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from influencerai_dagster.core.manifests.captions import (
    MAX_CAPTION_LENGTH,
    Caption,
    CaptionsManifest,
    CaptionSource,
)
from influencerai_dagster.core.manifests.dataset import DatasetImage, DatasetManifest
from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.core.refused_images import RefusedImage
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.manifests import Published, publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_images import copy_name, read_caption, write_copy

CAPTIONED_SIDE_PX = 2048
"""Larger images are scaled down for a captioner; models see 384 to 1024 px."""


class Captioner(Protocol):
    """A program or a service that describes images."""

    def caption(self, image_dir: Path) -> Mapping[str, str | RefusedImage]:
        """Return one line of text for every image of a folder, by file name, or its refusal."""


@dataclass(frozen=True)
class CaptionSettings:
    """Settings of the captions of one influencer.

    Attributes:
        trigger_phrase: the words that call the character; every caption starts with them.
        class_caption: what the character is ("woman"), for images without another caption.
        captioner: describes images that have no sidecar, or None.
        captioner_source: that captioner's name in the manifest.
    """

    trigger_phrase: str
    class_caption: str
    captioner: Captioner | None = None
    captioner_source: CaptionSource = CaptionSource.CLASS


def write_captions(
    store: ObjectStore, dataset: DatasetManifest, settings: CaptionSettings
) -> Published[CaptionsManifest]:
    """Give every image of a dataset its caption and publish them.

    Raises:
        PermanentError: some sidecars cannot be used; the text names each file and its problem.
            Nothing is written. Or an upload was replaced since the dataset was scanned.
    """
    problems: list[str] = []
    written: dict[str, str] = {}
    with_sidecar = [image for image in dataset.images if image.caption_object_key is not None]
    for image, data in zip(
        with_sidecar,
        store.map(lambda image: read_caption(store, image), with_sidecar),
        strict=True,
    ):
        try:
            written[image.file_name] = parse_sidecar(data)
        except ValueError as error:
            problems.append(f"{image.caption_object_key}: {error}")
    if problems:
        raise PermanentError(
            f"{len(problems)} caption files of {dataset.key} cannot be used. Correct or remove "
            "them and upload again:\n  " + "\n  ".join(problems)
        )
    missing = [image for image in dataset.images if image.file_name not in written]
    described, refused = _describe(store, missing, settings.captioner)
    captions = tuple(
        _caption(image.file_name, written, described, settings) for image in dataset.images
    )
    manifest = CaptionsManifest.build(
        dataset.key,
        dataset_version=dataset.version,
        trigger_phrase=settings.trigger_phrase,
        captions=captions,
        refused=refused,
    )
    return publish(store, manifest)


def parse_sidecar(data: bytes) -> str:
    """Return the caption that a sidecar holds.

    Raises:
        ValueError: neither UTF-8 nor UTF-16 with its mark, empty, more than one line, too long, or
            with a character that does harm. Older encodings are not guessed at: a wrong guess
            would train on wrong letters.
    """
    try:
        text = data.decode(_encoding(data)).replace("\t", " ").strip()
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at {error.start}"
        raise ValueError(f"is not UTF-8 ({found}); save it as UTF-8") from None
    if not text:
        raise ValueError("is empty; kohya refuses an empty caption")
    if len(text.splitlines()) > 1:
        raise ValueError("has more than one line; kohya reads only the first")
    if len(text) > MAX_CAPTION_LENGTH:
        raise ValueError(f"has {len(text)} characters; at most {MAX_CAPTION_LENGTH}")
    problem = text_problem(text)
    if problem is not None:
        raise ValueError(problem)
    return text


def _encoding(data: bytes) -> str:
    """Return the encoding that the first bytes mark; Notepad and PowerShell write UTF-16."""
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf_16 else "utf-8-sig"


def trigger_first(trigger_phrase: str, text: str) -> str:
    """Return the text with the trigger phrase at its start, once."""
    rest = text.removeprefix(trigger_phrase)
    if not trigger_phrase or (rest != text and not rest[:1].isalnum()):
        return text
    return f"{trigger_phrase}, {text}" if text else trigger_phrase


def _describe(
    store: ObjectStore, images: list[DatasetImage], captioner: Captioner | None
) -> tuple[dict[str, str], tuple[RefusedImage, ...]]:
    """Return the text of each image that the captioner describes, and those that it refuses."""
    if captioner is None or not images:
        return {}, ()
    copies = {copy_name(index, image): image for index, image in enumerate(images, start=1)}
    with tempfile.TemporaryDirectory(prefix="captions-") as name:
        folder = Path(name)

        def copy(item: tuple[str, DatasetImage]) -> None:
            write_copy(store, item[1], folder / item[0], max_side_px=CAPTIONED_SIDE_PX)

        for _ in store.map(copy, copies.items()):
            pass
        found = captioner.caption(folder)
    texts: dict[str, str] = {}
    refused: list[RefusedImage] = []
    for name, answer in found.items():
        file_name = copies[name].file_name
        if isinstance(answer, RefusedImage):
            refused.append(RefusedImage(file_name=file_name, why=answer.why))
        else:
            texts[file_name] = answer
    return texts, tuple(refused)


def _caption(
    file_name: str, written: dict[str, str], described: dict[str, str], settings: CaptionSettings
) -> Caption:
    if file_name in written:
        text, source = written[file_name], CaptionSource.SIDECAR
    elif described.get(file_name, "").strip():
        words = " ".join(described[file_name].split())
        text, source = words[:MAX_CAPTION_LENGTH], settings.captioner_source
    else:
        text, source = settings.class_caption, CaptionSource.CLASS
    return Caption(
        file_name=file_name, text=trigger_first(settings.trigger_phrase, text), source=source
    )
