"""Draw contact sheets and grids: many images in one JPEG, small enough for Dagster's metadata."""

import base64
import io
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.images import upright_rgb

MAX_THUMBNAILS = 60
MAX_DATA_URI_BYTES = 300_000
_LABEL_PX = 18
_FONT_PX = 12
_MARGIN_PX = 4
_PAPER = "white"
_INK = "black"
_ABSENT = (224, 224, 224)
_QUALITIES = (82, 65, 45)

ImageSource = bytes | Image.Image | None


def contact_sheet(
    images: Iterable[tuple[str | tuple[str, ...], bytes | Image.Image]],
    columns: int,
    thumb_px: int,
) -> bytes:
    """Lay out thumbnails with their labels, row by row, as JPEG.

    Args:
        images: (label, image) pairs; read one by one, and never more than MAX_THUMBNAILS of them.
            A label may be several lines.
        columns: thumbnails in a row.
        thumb_px: side of a thumbnail.
    """
    cells: list[tuple[tuple[str, ...], Image.Image]] = []
    for label, source in images:
        lines = (label,) if isinstance(label, str) else label
        cells.append((lines, thumbnail(source, thumb_px)))
        if len(cells) == MAX_THUMBNAILS:
            break
    num_rows = max(1, -(-len(cells) // columns))
    num_lines = max((len(lines) for lines, _ in cells), default=1)
    step_x, step_y = thumb_px + _MARGIN_PX, thumb_px + num_lines * _LABEL_PX + _MARGIN_PX
    sheet = Image.new(
        "RGB", (columns * step_x + _MARGIN_PX, num_rows * step_y + _MARGIN_PX), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for index, (lines, cell) in enumerate(cells):
        left = _MARGIN_PX + index % columns * step_x
        top = _MARGIN_PX + index // columns * step_y
        sheet.paste(cell, (left, top))
        for number, line in enumerate(lines):
            _write(draw, line, left, top + thumb_px + number * _LABEL_PX, thumb_px)
    return _jpeg(sheet, _QUALITIES[0])


def grid(
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    images: Sequence[ImageSource],
    *,
    thumb_px: int = 192,
) -> bytes:
    """Lay out images by row and column (a LoRA's samples by prompt and strength), as JPEG.

    Args:
        row_labels: one for each row, written above it.
        column_labels: one for each column, written above the first row.
        images: row by row; None leaves a grey cell.
        thumb_px: side of a cell.

    Raises:
        ValueError: there are not rows × columns images.
    """
    if len(images) != len(row_labels) * len(column_labels):
        raise ValueError(
            f"{len(images)} images do not fill "
            f"{len(row_labels)} rows × {len(column_labels)} columns"
        )
    step_x, step_y = thumb_px + _MARGIN_PX, thumb_px + _LABEL_PX + _MARGIN_PX
    width_px = len(column_labels) * step_x + _MARGIN_PX
    sheet = Image.new("RGB", (width_px, len(row_labels) * step_y + _LABEL_PX + _MARGIN_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        _write(draw, label, _MARGIN_PX + column * step_x, 0, thumb_px)
    for row, label in enumerate(row_labels):
        top = _LABEL_PX + row * step_y
        _write(draw, label, _MARGIN_PX, top, width_px - 2 * _MARGIN_PX)
        for column in range(len(column_labels)):
            cell = thumbnail(images[row * len(column_labels) + column], thumb_px)
            sheet.paste(cell, (_MARGIN_PX + column * step_x, top + _LABEL_PX))
    return _jpeg(sheet, _QUALITIES[0])


def data_uri(jpeg: bytes) -> str:
    """Return a JPEG as a data URI of at most MAX_DATA_URI_BYTES, made coarser or smaller to fit.

    Dagster keeps metadata in its event log: an image there must be small.
    """
    if len(jpeg) <= _max_bytes():
        return _encode(jpeg, "jpeg")
    with upright_rgb(jpeg) as image:
        source = image
        while True:
            for quality in _QUALITIES:
                smaller = _jpeg(source, quality)
                if len(smaller) <= _max_bytes():
                    return _encode(smaller, "jpeg")
            source = source.reduce(2)


def png_data_uri(png: bytes) -> str:
    """Return a PNG, such as a plot, as a data URI; plots are small by themselves."""
    return _encode(png, "png")


def markdown_image(uri: str, alt: str) -> str:
    """Return Markdown that shows an image, for Dagster's metadata."""
    words = "".join(" " if letter in "[]\n\r\\" else letter for letter in alt)
    return f"![{words}]({uri})"


def _max_bytes() -> int:
    return (MAX_DATA_URI_BYTES - len("data:image/jpeg;base64,")) // 4 * 3


def _encode(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(source: ImageSource, side_px: int) -> Image.Image:
    """Return a square with a small image in its middle; grey if there is none to show."""
    cell = Image.new("RGB", (side_px, side_px), _ABSENT)
    if source is None:
        return cell
    if isinstance(source, bytes):
        try:
            with upright_rgb(source, scale_to_px=side_px) as image:
                small = ImageOps.contain(image, (side_px, side_px))
        except PermanentError:
            return cell  # a sheet shows what can be shown
    else:
        small = ImageOps.contain(source.convert("RGB"), (side_px, side_px))
    cell.paste(small, ((side_px - small.width) // 2, (side_px - small.height) // 2))
    return cell


def _write(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, width_px: int) -> None:
    """Write one line, shortened in its middle if it is too wide."""
    font = ImageFont.load_default(_FONT_PX)
    whole = "".join("?" if text_problem(letter) else letter for letter in text[:200])
    line, kept = whole, len(whole)
    while kept > 1 and draw.textlength(line, font=font) > width_px:
        kept -= 1
        line = whole[: -(-kept // 2)] + "…" + whole[len(whole) - kept // 2 :]
    draw.text((left, top + 1), line, fill=_INK, font=font)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    output = io.BytesIO()
    image.save(output, "JPEG", quality=quality, optimize=True)
    return output.getvalue()
