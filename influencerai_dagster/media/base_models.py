"""Find a base model's file in a folder of models."""

from contextlib import suppress
from pathlib import Path

from influencerai_dagster.errors import PermanentError


def find_base_model(models_dir: Path, base_model: str) -> Path:
    """Return the path of a base model file.

    Links below the folder are followed, because models are large and often on other disks. A name
    cannot lead out of the folder otherwise: tenants write it.

    Raises:
        PermanentError: it is in none of the folders; the text names them.
    """
    candidates = [
        models_dir / folder / base_model
        for folder in ("checkpoints", "diffusion_models", "unet", "")
    ]
    is_inside = not base_model.startswith("/") and ".." not in Path(base_model).parts
    for path in candidates if is_inside else ():
        with suppress(OSError, ValueError):  # too long for the file system, or with NUL
            if path.is_file():
                return path
    raise PermanentError(
        f"base model {base_model!r} was not found; looked for {', '.join(map(str, candidates))}. "
        "Put the file there, or set KOHYA_MODELS_DIR or base_model."
    )
