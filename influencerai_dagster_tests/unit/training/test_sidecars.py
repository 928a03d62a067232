"""Every caption file has its image, or a reason why not."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.training.sidecars import is_about_all, is_caption_file, pair_captions

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("image", "caption"),
    [
        ("img001.JPG", "img001.txt"),
        ("img002.jpg", "img002.TXT"),
        ("img003.jpg", "img003.jpg.txt"),
        ("img004.jpg", "img004.caption"),
        ("img004.jpg", "img004.JPG.Caption"),
        ("IMG_005.JPG", "img_005.txt"),
        (f"{NFC}.jpg", f"{NFD}.txt"),
        (f"{NFD}.jpg", f"{NFC}.txt"),
        (f"{NFD.upper()}.jpg", f"{NFC}.txt"),
        ("stra\u00dfe.jpg", "STRASSE.txt"),
        ("img 007 (1)+a#b%20&\u00e9'.jpg", "img 007 (1)+a#b%20&\u00e9'.txt"),
        ("photo.final.v2.jpg", "photo.final.v2.txt"),
        ("photo", "photo.txt"),
        ("selfie\U0001f600.jpg", "selfie\U0001f600.txt"),
    ],
)
def test_a_caption_finds_its_image(image: str, caption: str) -> None:
    assert is_caption_file(caption)
    pairing = pair_captions([image, "other.jpg"], [caption])
    assert pairing.caption_of == {image: caption}
    assert pairing.unpaired == {}


def test_two_images_of_one_stem_share_a_caption_as_with_kohya() -> None:
    pairing = pair_captions(["img008.jpg", "img008.png"], ["img008.txt"])
    assert pairing.caption_of == {"img008.jpg": "img008.txt", "img008.png": "img008.txt"}


def test_a_caption_of_the_whole_name_wins_over_one_of_the_stem() -> None:
    pairing = pair_captions(["img008.jpg", "img008.png"], ["img008.txt", "img008.png.txt"])
    assert pairing.caption_of == {"img008.jpg": "img008.txt", "img008.png": "img008.png.txt"}
    assert pairing.unpaired == {}


@pytest.mark.parametrize(
    ("images", "captions", "caption_of", "unpaired"),
    [
        pytest.param(
            ["a.jpg"], ["b.txt"], {}, {"b.txt": "no image has its name"}, id="no such image"
        ),
        pytest.param(
            ["a.jpg"],
            ["a.txt", "a.caption"],
            {"a.jpg": "a.txt"},
            {"a.caption": "a.jpg has a.txt"},
            id="two for one image",
        ),
        pytest.param(
            ["a.jpg"],
            ["a.txt", "A.txt"],
            {"a.jpg": "a.txt"},
            {"A.txt": "a.jpg has a.txt"},
            id="two that differ in case",
        ),
        pytest.param(
            ["img.jpg"],
            ["IMG.txt", "Img.txt"],
            {},
            dict.fromkeys(
                ["IMG.txt", "Img.txt"], "img.jpg has several of this name: IMG.txt, Img.txt"
            ),
            id="two that differ from it in case",
        ),
        pytest.param(
            ["IMG.jpg", "img.jpg"],
            ["Img.txt"],
            {},
            {"Img.txt": "it could be of IMG.jpg or of img.jpg"},
            id="one for two that differ in case",
        ),
        pytest.param(
            ["IMG.jpg", "img.jpg"],
            ["img.txt"],
            {"img.jpg": "img.txt"},
            {},
            id="the same letters win",
        ),
        pytest.param(
            ["a.jpg"],
            ["metadata.jsonl"],
            {},
            {
                "metadata.jsonl": "captions are read from one text file for each image, "
                "not from a table"
            },
            id="a table",
        ),
    ],
)
def test_a_caption_without_an_image_is_told_with_its_reason(
    images: list[str], captions: list[str], caption_of: dict[str, str], unpaired: dict[str, str]
) -> None:
    pairing = pair_captions(images, captions)
    # One image takes the caption of its own letters; the other has none, and nothing is guessed.
    assert pairing.caption_of == caption_of
    assert pairing.unpaired == unpaired


def test_a_readme_is_no_caption() -> None:
    assert not is_caption_file("README.txt")
    assert is_about_all("README.txt")


letters = st.text("aAbB\u00e9\u0301e.", min_size=1, max_size=4)
image_names = st.builds(
    "{}{}".format, letters, st.sampled_from([".jpg", ".JPG", ".png", ""])
).filter(lambda name: not is_caption_file(name))
caption_names = st.builds("{}{}".format, letters, st.sampled_from([".txt", ".TXT", ".caption"]))


@given(st.sets(image_names, max_size=6), st.sets(caption_names, max_size=6))
def test_every_caption_is_used_or_told_and_each_pair_is_of_one_name(
    images: set[str], captions: set[str]
) -> None:
    pairing = pair_captions(images, captions)
    assert set(pairing.caption_of.values()) | set(pairing.unpaired) == captions
    assert not set(pairing.caption_of.values()) & set(pairing.unpaired)
    assert set(pairing.caption_of) <= images
    for image, caption in pairing.caption_of.items():
        one, other = (unicodedata.normalize("NFC", name).casefold() for name in (image, caption))
        assert unicodedata.normalize("NFC", other).startswith(
            unicodedata.normalize("NFC", one).rsplit(".", 1)[0]
        )


def test_many_captions_without_an_image_are_told_in_a_moment() -> None:
    images = [f"img{number}.jpg" for number in range(5000)]
    captions = [f"other{number}.txt" for number in range(20_000)]
    began = time.process_time()
    pairing = pair_captions(images, [*(f"{image}.txt" for image in images), *captions])
    assert set(pairing.unpaired) == set(captions)
    assert time.process_time() - began < 3
