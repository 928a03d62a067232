"""Uploads are measured as people see them, and every hostile file is a named reject."""

import hashlib
import io
import struct
import time
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from influencerai_dagster.core.dataset_rules import DatasetRules, RejectReason
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.images import (
    MeasuredImage,
    Reject,
    measure_upload,
    near_duplicates,
    normalised_image,
    upright_rgb,
)

RULES = DatasetRules(min_side_px=64)
WEBP_BOMB = (  # 10,000 × 10,000 pixels of one colour
    b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f"
    + struct.pack("<I", 9_999 | 9_999 << 14)
    + b"\x07\x10\xfd\x8f\xfe\x07\x22\xa2\xff\x01\0\0\0"
)
FORMATS = ["JPEG", "PNG", "WEBP"]
each_format = pytest.mark.parametrize("image_format", FORMATS)


def drawn(seed: int = 1, size: tuple[int, int] = (480, 320)) -> Image.Image:
    """An image with a top and a left side; another seed is another image."""
    image = Image.new("RGB", size, (250, 240, 220))
    draw = ImageDraw.Draw(image)
    for step in range(8):
        left = (step * 53 * seed) % size[0]
        top = (step * step * 29 * seed) % size[1]
        colour = ((step * 40 * seed) % 256, 60, (200 - step * 20) % 256)
        draw.ellipse((left, top, left + 90 + 11 * step, top + 70), fill=colour)
    draw.rectangle((0, 0, size[0] // 3, size[1] // 4), fill=(20, 20, 120))
    return image


def saved(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def standing(data: bytes) -> Image.Image:
    with upright_rgb(data) as image:
        return image.copy()


def measured(data: bytes, rules: DatasetRules = RULES) -> MeasuredImage:
    result = measure_upload(data, rules)
    assert isinstance(result, MeasuredImage), result
    return result


def rejected(data: bytes, rules: DatasetRules = RULES) -> Reject:
    result = measure_upload(data, rules)
    assert isinstance(result, Reject), result
    return result


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    return exif


def png_header(width_px: int, height_px: int) -> bytes:
    """A PNG of nothing but a header that promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@each_format
def test_an_upload_is_measured(image_format: str) -> None:
    data = saved(drawn(), image_format)
    result = measured(data)
    assert (result.width_px, result.height_px, result.format) == (480, 320, image_format)
    assert (result.size_bytes, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(result.perceptual_hash) == 16


@pytest.mark.parametrize("orientation", range(1, 9))
@each_format
def test_size_and_hash_are_those_of_the_upright_image(image_format: str, orientation: int) -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    as_stored = drawn() if undo is None else drawn().transpose(undo)
    data = saved(as_stored, image_format, exif=exif_with(orientation), quality=95)
    result = measured(data)
    assert (result.width_px, result.height_px) == (480, 320)
    upright = measured(saved(drawn(), "PNG")).perceptual_hash
    assert distance(result.perceptual_hash, upright) <= RULES.near_duplicate_bits
    assert standing(data).size == (480, 320)


@each_format
def test_the_same_image_at_another_size_or_quality_is_near(image_format: str) -> None:
    original = measured(saved(drawn(size=(1440, 960)), "PNG")).perceptual_hash
    small = saved(drawn(size=(1440, 960)).resize((720, 480)), image_format, quality=70)
    other = saved(drawn(seed=3, size=(1440, 960)), image_format)
    assert distance(measured(small).perceptual_hash, original) <= RULES.near_duplicate_bits
    assert distance(measured(other).perceptual_hash, original) > 8


@pytest.mark.parametrize(
    "image",
    [
        drawn().convert("L"),
        drawn().convert("P"),
        drawn().convert("CMYK"),
        drawn().convert("1"),
        Image.merge("RGBA", [*drawn().split(), Image.linear_gradient("L").resize((480, 320))]),
        drawn().convert("L").convert("I").point(lambda value: value * 257).convert("I;16"),
    ],
    ids=["grey", "palette", "cmyk", "black and white", "transparent", "16 bit"],
)
def test_every_colour_mode_becomes_upright(image: Image.Image) -> None:
    data = saved(image, "JPEG" if image.mode == "CMYK" else "PNG")
    assert measured(data).width_px == 480
    normalised = standing(normalised_image(data))
    assert normalised.mode == "RGB"
    assert len(set(normalised.convert("L").resize((16, 16)).tobytes())) > 8, "the image is lost"


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    assert standing(saved(clear, "PNG")).getpixel((50, 50)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"this is text, whatever its name", RejectReason.NOT_AN_IMAGE),
        (b"", RejectReason.NOT_AN_IMAGE),
        (saved(drawn(), "GIF"), RejectReason.NOT_AN_IMAGE),
        (saved(drawn(), "BMP"), RejectReason.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", RejectReason.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", RejectReason.UNREADABLE),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, RejectReason.UNREADABLE),
        (b"RIFF\x10\0\0\0WEBPVP8 " + b"x" * 100, RejectReason.UNREADABLE),
        (png_header(800, 600), RejectReason.UNREADABLE),
        (png_header(60_000, 60_000), RejectReason.TOO_MANY_PIXELS),
        (png_header(2**31 - 1, 2**31 - 1), RejectReason.TOO_MANY_PIXELS),
        (saved(drawn(size=(1000, 63))), RejectReason.TOO_SMALL),
    ],
    ids=[
        "text named png",
        "empty",
        "gif",
        "bmp",
        "svg",
        "cut jpeg header",
        "broken png",
        "broken webp",
        "png without its pixels",
        "zip bomb",
        "largest size",
        "too small",
    ],
)
def test_a_hostile_upload_is_a_named_reject(data: bytes, reason: RejectReason) -> None:
    result = rejected(data)
    assert result.reason is reason
    assert result.detail


@pytest.mark.parametrize("missing", ["half", "1 byte"])
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_a_truncated_jpeg_is_unreadable_though_it_is_read_at_a_small_scale(
    missing: str, *, progressive: bool
) -> None:
    data = saved(drawn(size=(2000, 1500)), progressive=progressive)
    cut = data[: len(data) // 2] if missing == "half" else data[:-1]
    assert rejected(cut).reason is RejectReason.UNREADABLE
    with pytest.raises(PermanentError, match="truncated"):
        normalised_image(cut)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_a_truncated_lossless_file_is_unreadable(image_format: str) -> None:
    data = saved(drawn(), image_format, lossless=True)
    assert rejected(data[: len(data) // 2]).reason is RejectReason.UNREADABLE


def test_a_zip_bomb_is_refused_before_its_pixels_are_decoded() -> None:
    began = time.process_time()
    assert (
        rejected(png_header(60_000, 60_000)).detail
        == "60000×60000 pixels; MAX_IMAGE_PIXELS is 40000000: scale it down"
    )
    assert time.process_time() - began < 1


def test_an_image_up_to_a_larger_limit_is_measured() -> None:
    rules = DatasetRules(min_side_px=64, max_pixels=80_000_000)
    data = saved(Image.new("L", (9_400, 8_000)), "PNG")
    assert measured(data, rules).width_px == 9_400


def test_a_file_over_the_size_limit_is_refused_unread() -> None:
    result = rejected(b"x" * 11, DatasetRules(max_upload_size_bytes=10))
    assert result == Reject(RejectReason.TOO_LARGE, "11 bytes, allowed are 10")


def test_an_image_that_would_need_more_memory_than_any_may_have_is_a_named_reject() -> None:
    rules = DatasetRules(max_pixels=10**9)
    result = rejected(png_header(20_000, 20_000), rules)
    assert result.reason is RejectReason.TOO_MANY_PIXELS
    assert result.detail == (
        "20000×20000 pixels of PNG need 5340 MiB to decode; 1024 MiB are allowed"
    )


def test_a_webp_bomb_of_38_bytes_is_refused_before_its_canvas_is_made() -> None:
    assert len(WEBP_BOMB) == 38
    began = time.process_time()
    assert rejected(WEBP_BOMB).detail.startswith("10000×10000 pixels; MAX_IMAGE_PIXELS is")
    with pytest.raises(PermanentError, match="10000×10000 pixels of WEBP need"):
        normalised_image(WEBP_BOMB)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iCCP"])
def test_large_texts_and_absurd_profiles_do_not_cost_the_image(kind: str) -> None:
    png = saved(drawn(), "PNG")
    head = {"iTXt": b"workflow\0\1\0\0\0", "tEXt": b"workflow\0"}.get(kind, b"workflow\0\0")
    body = b"x" * 3_000_000
    body = head + (body if kind == "tEXt" else zlib.compress(body))
    chunk = struct.pack(">I", len(body)) + kind.encode() + body
    chunk += struct.pack(">I", zlib.crc32(kind.encode() + body))
    data = png[:33] + chunk + png[33:]
    assert measured(data).width_px == 480
    assert standing(normalised_image(data)).tobytes() == drawn().tobytes()


def jpeg_with(segment: bytes, number: int) -> bytes:
    jpeg = saved(drawn())
    return jpeg[:2] + segment * number + jpeg[2:]


def png_with(chunk: bytes, number: int) -> bytes:
    png = saved(drawn(), "PNG")
    return png[:33] + chunk * number + png[33:]


def repeated_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan is there so often, and each costs all of its pixels."""
    jpeg = saved(drawn(), progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * number + jpeg[-2:]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(jpeg_with(b"\xff\xfe\0\2", 200_000), "1000 segments", id="comments"),
        pytest.param(jpeg_with(b"\xff\xe1\0\x09Exif\0\0A", 50_000), "1000 segments", id="EXIF"),
        pytest.param(jpeg_with(b"\xff\xd0", 200_000), "1000 segments", id="restarts"),
        pytest.param(
            jpeg_with(b"\xff\xfe\0\2" + b"junk" * 100, 500),
            "65536 bytes between",
            id="bytes of no segment",
        ),
        pytest.param(b"\xff\xd8\xff" + b"\xff" * 200_000, "65536 bytes between", id="fill bytes"),
        pytest.param(repeated_scans(5000), "scans; at most 100", id="scans"),
        pytest.param(png_with(b"\0\0\0\0abCd\0\0\0\0", 200_000), "100000 chunks", id="chunks"),
    ],
)
def test_a_file_of_countless_parts_is_refused_before_a_decoder_goes_through_them(
    data: bytes, problem: str
) -> None:
    began = time.process_time()
    found = rejected(data)
    assert (found.reason, problem in found.detail) == (RejectReason.UNREADABLE, True), found
    assert time.process_time() - began < 0.5


def test_a_progressive_photo_with_a_long_header_is_measured() -> None:
    extended_xmp = b"\xff\xe1\xff\xffhttp://ns.adobe.com/xmp/extension/\0" + b"x" * 65_498
    photo = saved(drawn(), progressive=True)
    assert measured(photo[:2] + 300 * extended_xmp + photo[2:]).width_px == 480


def test_of_many_colour_profiles_of_a_png_one_is_unpacked() -> None:
    body = b"iCCP" + b"x\0\0" + zlib.compress(b"\0" * 1_000_000)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    began = time.process_time()
    assert measured(png_with(chunk, 500)).width_px == 480
    assert time.process_time() - began < 1.0


SMALL_FILES = [
    saved(drawn(size=(64, 64)), "JPEG"),
    saved(drawn(size=(64, 64)), "JPEG", progressive=True, exif=exif_with(6)),
    saved(drawn(size=(64, 64)), "PNG"),
    saved(drawn(size=(64, 64)).quantize(16), "PNG", transparency=3),
    saved(drawn(size=(64, 64)), "WEBP", lossless=True),
    saved(drawn(size=(64, 64)), "WEBP", exif=exif_with(3)),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says of EXIF that it is corrupt
@settings(max_examples=300)
@given(st.sampled_from(SMALL_FILES), st.data())
def test_a_file_with_any_damage_is_measured_or_a_named_reject(
    original: bytes, data: st.DataObject
) -> None:
    places = st.integers(0, len(original) - 1)
    damaged = bytearray(original)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        damaged[place] = value
    cut = bytes(damaged[: data.draw(st.integers(0, len(original)))])
    result = measure_upload(cut, RULES)
    assert isinstance(result, MeasuredImage) or result.detail
    with suppress(PermanentError):
        normalised_image(cut)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_counts_as_its_first_frame(image_format: str) -> None:
    frames = [drawn(seed) for seed in (1, 2, 3)]
    data = saved(frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True)
    alone = measured(saved(frames[0], "PNG")).perceptual_hash
    assert measured(data).perceptual_hash == alone
    with Image.open(io.BytesIO(normalised_image(data))) as image:
        assert getattr(image, "n_frames", 1) == 1


@each_format
def test_what_training_receives_has_no_exif_and_stands_upright(image_format: str) -> None:
    sideways = drawn().transpose(Image.Transpose.ROTATE_90)
    data = saved(sideways, image_format, exif=exif_with(6))
    assert b"SecretCamera" in data
    normalised = normalised_image(data)
    assert b"SecretCamera" not in normalised
    with Image.open(io.BytesIO(normalised)) as image:
        stored = "JPEG" if image_format == "JPEG" else "PNG"
        assert (image.format, image.size, image.mode) == (stored, (480, 320), "RGB")
        assert dict(image.getexif()) == {}


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_lossless_formats_keep_every_pixel(image_format: str) -> None:
    data = saved(drawn(), image_format, lossless=True)
    assert standing(normalised_image(data)).tobytes() == drawn().tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, which is right
def test_broken_exif_and_colour_profiles_do_not_cost_the_image() -> None:
    data = saved(drawn(), exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", icc_profile=b"no profile")
    assert measured(data).width_px == 480
    assert standing(normalised_image(data)).size == (480, 320)


def test_an_embedded_colour_profile_is_applied_and_dropped() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(drawn(), "PNG", icc_profile=profile)
    with Image.open(io.BytesIO(normalised_image(data))) as image:
        assert "icc_profile" not in image.info
        assert image.getpixel((5, 5)) == (20, 20, 120)


def test_a_blurred_copy_is_a_near_duplicate_and_another_image_is_not() -> None:
    images = [drawn(1), drawn(1).filter(ImageFilter.GaussianBlur(1)), drawn(4)]
    hashes = [measured(saved(image)).perceptual_hash for image in images]
    assert near_duplicates(hashes, RULES.near_duplicate_bits) == {1: 0}
