"""Caption images with the tools of sd-scripts: BLIP and WD14.

training/captions.py decides which images need one and puts the trigger phrase first. The tools'
habits are described in docs/protocols/kohya.md, "Captioning tools": they need PYTHONPATH,
download their models, and write beside the images, so each run gets its own copy under names that
cannot clash.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.engines.kohya.checks import check_program, images_in
from influencerai_dagster.engines.kohya.command import program_path
from influencerai_dagster.engines.kohya.dataset_config import CAPTION_EXTENSION
from influencerai_dagster.engines.kohya.failures import failure
from influencerai_dagster.engines.kohya.process import run_program
from influencerai_dagster.errors import PermanentError

_WD14_FILES = ("model.onnx", "selected_tags.csv")


@dataclass(frozen=True, kw_only=True)
class BlipCaptioner:
    """Sentences by BLIP: `finetune/make_captions.py`.

    Attributes:
        sd_scripts_dir: a checkout of kohya-ss/sd-scripts.
        python: the interpreter that has its requirements, timm and fairscale too.
        work_dir: for copies and the log; created if missing.
        extra_variables: names of further environment variables to pass on.
    """

    sd_scripts_dir: Path
    python: Path
    work_dir: Path
    time_limit_seconds: float | None = None
    extra_variables: tuple[str, ...] = ()

    def caption(self, image_dir: Path) -> dict[str, str]:
        """Return file name → sentence; an image that BLIP has no words for is left out.

        Raises:
            PermanentError: the tool or its model cannot be used; the text says what to do.
            TransientError: the model could not be downloaded now, or the time limit passed.
        """
        return _captions_by(
            "finetune/make_captions.py",
            [f"--caption_extension={CAPTION_EXTENSION}"],
            captioner=self,
            image_dir=image_dir,
        )


@dataclass(frozen=True, kw_only=True)
class Wd14Captioner:
    """Comma-separated tags by a WD14 tagger: `finetune/tag_images_by_wd14_tagger.py`.

    Attributes:
        sd_scripts_dir: a checkout of kohya-ss/sd-scripts.
        python: the interpreter that has its requirements, onnx and onnxruntime too.
        work_dir: for copies and the log; created if missing.
        model_dir: where the tagger's model is kept between runs.
        repo_id: the tagger's model on the Hugging Face Hub.
        thresh: tags below this confidence are left out.
        extra_variables: as above.
    """

    sd_scripts_dir: Path
    python: Path
    work_dir: Path
    model_dir: Path
    repo_id: str = "SmilingWolf/wd-swinv2-tagger-v3"
    thresh: float = 0.35
    time_limit_seconds: float | None = None
    extra_variables: tuple[str, ...] = ()

    def caption(self, image_dir: Path) -> dict[str, str]:
        """Return file name → tags; an image without any is left out. Errors are BLIP's."""
        options = [
            "--onnx",
            f"--repo_id={self.repo_id}",
            f"--model_dir={self.model_dir.resolve()}",
            "--remove_underscore",
            f"--thresh={self.thresh}",
            f"--caption_extension={CAPTION_EXTENSION}",
        ]
        if self._is_half_downloaded():
            options.append("--force_download")
        return _captions_by(
            "finetune/tag_images_by_wd14_tagger.py", options, captioner=self, image_dir=image_dir
        )

    def _is_half_downloaded(self) -> bool:
        # The tool takes any folder of this name for an installed model.
        folder = self.model_dir / self.repo_id.replace("/", "_")
        return folder.exists() and not all((folder / name).is_file() for name in _WD14_FILES)


def _captions_by(
    script: str, options: list[str], *, captioner: BlipCaptioner | Wd14Captioner, image_dir: Path
) -> dict[str, str]:
    check_program(captioner.sd_scripts_dir, script, captioner.python)
    images = images_in(image_dir)
    if not images:
        return {}
    captioner.work_dir.mkdir(parents=True, exist_ok=True)
    log_path = captioner.work_dir / f"{Path(script).stem}.log"
    with tempfile.TemporaryDirectory(dir=captioner.work_dir, prefix="images-") as name:
        copies = _copied(images, Path(name))
        finished = run_program(
            [program_path(captioner.python), script, *options, str(Path(name).resolve())],
            cwd=captioner.sd_scripts_dir,
            log_path=log_path,
            extra_variables=captioner.extra_variables,
            time_limit_seconds=captioner.time_limit_seconds,
        )
        if finished.exit_code != 0:
            raise failure(
                finished.exit_code, finished.stderr, program=Path(script).name, log_path=log_path
            )
        return _read_captions(copies, program=Path(script).name, log_path=log_path)


def _copied(images: list[Path], folder: Path) -> dict[str, Path]:
    copies = {}
    for number, image in enumerate(images):
        copies[image.name] = folder / f"{number:06d}{image.suffix.lower()}"
        shutil.copyfile(image, copies[image.name])
    return copies


def _read_captions(copies: dict[str, Path], *, program: str, log_path: Path) -> dict[str, str]:
    captions = {}
    missing = []
    for file_name, copy in copies.items():
        path = copy.with_suffix(CAPTION_EXTENSION)
        if not path.is_file():
            missing.append(file_name)
        elif text := " ".join(path.read_text(encoding="utf-8", errors="replace").split()):
            captions[file_name] = text
    if missing:
        text = (
            f"{program} wrote no caption for {len(missing)} of {len(copies)} images, the first is"
            f" {missing[0]!r}: it could not read them; its output is in {log_path}"
        )
        raise PermanentError(text)
    return captions
