"""Find files in the folders of ComfyUI (models, input, output, temp), and name results.

What a node does with a file lives in nodes.py, the HTTP routes over them in file_routes.py.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

MODEL_FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
)
_MODEL_SUFFIXES = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class SavePlace:
    """Where the next result of a filename prefix goes: folder, bare name, first free number."""

    folder: Path
    name: str
    number: int
    subfolder: str

    def filename(self, offset: int, suffix: str) -> str:
        """Name the file `offset` places after the first free number."""
        return f"{self.name}_{self.number + offset:05}_{suffix}"


@dataclass(frozen=True)
class Folders:
    """Absolute, resolved paths of one server's folders."""

    models: Path
    input: Path
    output: Path
    temp: Path

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.input, self.output, self.temp):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("checkpoints", "loras", "upscale_models"):
            (self.models / name).mkdir(parents=True, exist_ok=True)

    def by_type(self, kind: str) -> Path | None:
        """Return the folder that a `type` of the API names, None when there is no such type."""
        return {"output": self.output, "input": self.input, "temp": self.temp}.get(kind)

    def model_names(self, folder: str) -> list[str]:
        """List a model folder as it is now: nested, sorted, as `sub/name.safetensors`."""
        root = self.models / folder
        return sorted(
            (Path(place) / name).relative_to(root).as_posix()
            for place, _, names in os.walk(root, followlinks=True)
            for name in names
            if Path(name).suffix.lower() in _MODEL_SUFFIXES
        )

    def model_path(self, folder: str, name: str) -> Path | None:
        """Return the file behind a listed model name, None when it is not listed."""
        return self.models / folder / name if name in self.model_names(folder) else None

    def input_images(self) -> list[str]:
        """List the images at the top of the input folder, as LoadImage offers them."""
        return sorted(
            entry.name
            for entry in self.input.iterdir()
            if entry.is_file() and entry.suffix.lower() in _IMAGE_SUFFIXES
        )

    def annotated_path(self, name: str) -> Path:
        """Resolve `pic.png`, `sub/pic.png` or `pic.png [output]` as LoadImage reads them."""
        for kind in ("output", "input", "temp"):
            folder = self.by_type(kind)
            if folder is not None and name.endswith(f"[{kind}]"):
                return folder / name.removesuffix(f"[{kind}]").rstrip()
        return self.input / name

    def save_place(self, root: Path, prefix: str, width_px: int, height_px: int) -> SavePlace:
        """Find the first free number for a filename prefix by listing its folder.

        Raises:
            Exception: the prefix leaves the root folder; the class and the text are ComfyUI's.
        """
        prefix = _fill_prefix(prefix, width_px, height_px)
        folder = Path(os.path.normpath(root / Path(prefix).parent))
        name = Path(prefix).name
        if not folder.is_relative_to(root):
            common = os.path.commonpath((root, folder))
            text = (
                "**** ERROR: Saving image outside the output folder is not allowed.\n "
                f"full_output_folder: {folder}\n         output_dir: {root}\n"
                f"         commonpath: {common}"
            )
            raise Exception(text)  # noqa: TRY002 - history shows this class name
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number_of(entry.name, name) for entry in os.scandir(folder)), default=0)
        subfolder = folder.relative_to(root).as_posix()
        return SavePlace(folder, name, number, "" if subfolder == "." else subfolder)


def _number_of(filename: str, name: str) -> int:
    if not filename.startswith(f"{name}_"):
        return 0
    digits = filename[len(name) + 1 :].partition("_")[0]
    return int(digits) if digits.isdecimal() else 0


def _fill_prefix(prefix: str, width_px: int, height_px: int) -> str:
    now = time.localtime()
    values = {
        "width": str(width_px),
        "height": str(height_px),
        "year": f"{now.tm_year}",
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix
