"""Write words on an image: SIMULATED across it, and the prompt as a small caption."""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

_WORD = "SIMULATED"
_MAX_LINES = 2


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def add_marks(image: Image.Image, caption: str) -> None:
    """Write the caption and the SIMULATED mark onto an image."""
    _add_caption(image, caption)
    add_simulated_mark(image)


def add_simulated_mark(image: Image.Image, height: float = 0.72) -> None:
    """Write SIMULATED slantwise across an image, see-through, and small and solid at the top.

    Args:
        image: changed in place.
        height: where the slanted word's middle goes, a share of the image's height from the top.
    """
    mask = _slanted_word(min(image.size))
    left = (image.width - mask.width) // 2
    top = round(image.height * height) - mask.height // 2
    image.paste((255, 255, 255), (left, top), mask)
    size_px = max(8, min(image.size) // 30)
    draw = ImageDraw.Draw(image)
    box = draw.textbbox((size_px * 0.8, size_px * 0.6), _WORD, font=_font(size_px))
    around = (
        box[0] - size_px * 0.4,
        box[1] - size_px * 0.3,
        box[2] + size_px * 0.4,
        box[3] + size_px * 0.3,
    )
    draw.rectangle(around, fill=(196, 40, 60))
    draw.text((size_px * 0.8, size_px * 0.6), _WORD, fill=(255, 255, 255), font=_font(size_px))


@lru_cache(maxsize=8)
def _slanted_word(side_px: int) -> Image.Image:
    size_px = max(8, round(side_px / 6.5))
    strip = Image.new("L", (size_px * 7, size_px * 2))
    middle = (strip.width / 2, strip.height / 2)
    ImageDraw.Draw(strip).text(middle, _WORD, fill=84, font=_font(size_px), anchor="mm")
    turned = strip.rotate(24, resample=Image.Resampling.BILINEAR, expand=True)
    return turned.crop(turned.getbbox())


def _add_caption(image: Image.Image, caption: str) -> None:
    size_px = max(8, min(image.size) // 34)
    font = _font(size_px)
    draw = ImageDraw.Draw(image)
    lines = _lines(caption, draw, font, image.width - 2 * size_px)
    if not lines:
        return
    high = round(size_px * (1.35 * len(lines) + 0.7))
    top = image.height - high
    band = image.crop((0, top, image.width, image.height))
    dark = Image.new("RGB", band.size, (24, 22, 30))
    image.paste(Image.blend(band, dark, 0.62), (0, top))
    for index, line in enumerate(lines):
        y = top + size_px * (0.3 + 1.35 * index)
        draw.text((size_px, y), line, fill=(244, 242, 240), font=font)


def _lines(
    caption: str,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width_px: int,
) -> list[str]:
    lines: list[str] = []
    for word in caption.split()[:60]:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=font) <= width_px:
            lines[-1] = longer
        elif len(lines) == _MAX_LINES:
            lines[-1] += " …"
            break
        else:
            lines.append(word)
    return lines
