"""Images of the simulated ComfyUI: the same from the same words, marked, and cheap."""

import time
from itertools import pairwise

import pytest
from PIL import Image, ImageChops, ImageStat

from influencerai_dagster.local.samples import BELLA_DIR
from influencerai_dagster.simulators.comfyui.backgrounds import draw_background
from influencerai_dagster.simulators.comfyui.descriptions import looks_in
from influencerai_dagster.simulators.comfyui.drawing import Portrait, draw_portrait
from influencerai_dagster.simulators.comfyui.motion import move
from influencerai_dagster.simulators.comfyui.traits import Influence, influenced_person, setting_of

BEACH = "a photo of a woman on the beach, red dress"


def portrait(seed: int = 1, prompt: str = BEACH, *influences: Influence) -> Image.Image:
    return draw_portrait(Portrait(256, 256, seed, prompt, 5, influences))


def difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference of two images, 0 to 255."""
    histogram = ImageChops.difference(first.convert("L"), second.convert("L")).histogram()
    return sum(value * count for value, count in enumerate(histogram)) / sum(histogram)


def test_equal_values_give_equal_pixels() -> None:
    assert portrait().tobytes() == portrait().tobytes()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(portrait(2), id="seed"),
        pytest.param(portrait(1, "a night in the city"), id="prompt"),
        pytest.param(portrait(1, BEACH, Influence(7, 0.9)), id="lora"),
    ],
)
def test_another_value_gives_another_image(other: Image.Image) -> None:
    assert difference(portrait(), other) > 1


def test_a_strong_lora_makes_every_seed_the_same_person() -> None:
    people = {influenced_person(seed, BEACH, (Influence(7, 1.0),)) for seed in range(20)}
    assert len(people) == 1
    assert len({influenced_person(seed, BEACH, ()) for seed in range(20)}) > 10


def test_a_lora_of_strength_zero_changes_nobody() -> None:
    assert influenced_person(3, BEACH, (Influence(7, 0.0),)) == influenced_person(3, BEACH, ())


CAPTIONS = (BELLA_DIR / "bella-01.txt").read_text()


def test_a_lora_shows_the_person_that_its_captions_describe() -> None:
    for number in range(20):
        person = influenced_person(3, BEACH, (Influence(number, 1.0, CAPTIONS),))
        assert (person.hair, person.hair_style) == ((143, 66, 38), "long")
        assert person.eyes == (79, 154, 99)
        assert person.has_freckles
        assert not person.has_glasses


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("a woman with short black hair", {"hair": (38, 30, 34), "hair_style": "short"}),
        ("two auburn hair buns", {"hair": (143, 66, 38), "hair_style": "bun"}),
        ("blue eyes, dark skin", {"eyes": (58, 108, 160), "skin": (112, 74, 52)}),
        ("reading glasses", {"has_glasses": True}),
        ("a black dress, a red car, blue sky", {}),
        ("", {}),
    ],
)
def test_words_that_describe_a_look_are_read(text: str, looks: dict[str, object]) -> None:
    assert looks_in(text) == looks


@pytest.mark.parametrize(
    ("prompt", "background", "time_of_day"),
    [
        ("at the beach at sunset", "beach", "sunset"),
        ("in a cafe by night", "indoors", "night"),
        ("in a night street with neon lights", "city", "night"),
        ("in a garden on a sunny day", "forest", "day"),
        ("on a mountain at dawn", "mountain", "sunset"),
    ],
)
def test_words_of_the_prompt_choose_background_and_time(
    prompt: str, background: str, time_of_day: str
) -> None:
    for seed in range(5):
        setting = setting_of(seed, prompt)
        assert (setting.background, setting.time) == (background, time_of_day)


def test_words_of_the_prompt_choose_clothes() -> None:
    assert setting_of(1, BEACH).outfit == (206, 62, 64)


@pytest.mark.parametrize("prompt", ["at the beach", "in a street", "in a park", "on a mountain"])
def test_a_night_is_darker_than_a_day(prompt: str) -> None:
    day, night = (
        draw_background((64, 64), setting_of(1, f"{prompt} {time}"), 1) for time in ("day", "night")
    )
    assert (
        ImageStat.Stat(night.convert("L")).mean[0] < ImageStat.Stat(day.convert("L")).mean[0] * 0.75
    )


@pytest.mark.parametrize(
    "size", [(512, 512), (1024, 1024), (576, 1024), (1024, 576), (64, 64), (16, 2048)], ids=str
)
def test_every_size_is_drawn_with_the_mark_in_its_pixels(size: tuple[int, int]) -> None:
    image = draw_portrait(Portrait(*size, 1, BEACH, 5))
    assert image.size == size
    top = image.crop((0, 0, image.width, max(20, image.height // 10)))
    colours = {colour for _, colour in top.getcolors(top.width * top.height) or []}
    assert (196, 40, 60) in colours


@pytest.mark.parametrize("text", ["", "x" * 3000, "ü 漢字 🙂\n\0 {}", "word " * 400])
def test_any_prompt_text_can_be_drawn(text: str) -> None:
    assert portrait(1, text).size == (256, 256)


def test_frames_of_a_video_move_gently_and_stay_alike() -> None:
    frames = list(move(portrait(), (144, 256), 6, seed=3, motion_bucket_id=127))
    assert [frame.size for frame in frames] == [(144, 256)] * 6
    steps = [difference(a, b) for a, b in pairwise(frames)]
    assert all(0 < step < 40 for step in steps)


def test_more_motion_moves_more() -> None:
    def travel(motion_bucket_id: int) -> float:
        frames = list(move(portrait(), (144, 256), 5, 3, motion_bucket_id))
        return sum(difference(frames[0], frame) for frame in frames)

    assert travel(250) > travel(20)


def test_an_image_costs_little_cpu() -> None:
    draw_portrait(Portrait(512, 512, 0, BEACH, 5))  # loads the font
    start = time.process_time()
    for seed in range(5):
        draw_portrait(Portrait(512, 512, seed, BEACH, 5))
    assert (time.process_time() - start) / 5 < 0.06
