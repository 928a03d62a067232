"""Try an installation of sd-scripts for `influencerai doctor`, before a training does."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.engines.kohya.causes import real_cause
from influencerai_dagster.engines.kohya.checks import check_program
from influencerai_dagster.engines.kohya.command import TRAINER_SCRIPTS, program_path
from influencerai_dagster.engines.kohya.process import run_program
from influencerai_dagster.errors import PermanentError, TransientError

TIME_LIMIT_SECONDS = 120.0
"""Of each program that is started; importing PyTorch takes some seconds, more on a cold disk."""
_CLIP_L = "openai_clip-vit-large-patch14"
_TOKENIZERS = {
    BaseModelFamily.SD15: (_CLIP_L,),
    BaseModelFamily.SDXL: (_CLIP_L, "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    BaseModelFamily.FLUX: (_CLIP_L, "google_t5-v1_1-xxl"),
}
"""The folders that sd-scripts looks for (`_load_tokenizer` in library/strategy_base.py)."""
_LOOK_FOR_GPU = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps([torch.__version__, [[gpu.name, gpu.total_memory] for gpu in gpus]]))
"""


def try_installation(
    sd_scripts_dir: Path,
    python: Path,
    family: BaseModelFamily,
    *,
    extra_variables: tuple[str, ...] = (),
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
) -> str:
    """Start a trainer as far as its imports; return what would train: the GPUs, or the CPU.

    Raises:
        PermanentError: a script, the interpreter or one of its packages is missing.
        TransientError: it took longer than the time limit.
    """
    script = TRAINER_SCRIPTS[family]
    check_program(sd_scripts_dir, script, python)

    def output(arguments: list[str], what: str) -> str:
        with TemporaryDirectory() as folder:
            log_path = Path(folder) / "log"
            try:
                finished = run_program(
                    [program_path(python), *arguments],
                    cwd=sd_scripts_dir,
                    log_path=log_path,
                    extra_variables=extra_variables,
                    time_limit_seconds=time_limit_seconds,
                )
            except TransientError as error:  # its text names the log, which is gone by then
                raise TransientError(
                    f"{python} did not start {what} within {time_limit_seconds:.0f} s, which says "
                    "nothing about a training. Importing PyTorch takes so long on a machine that "
                    "is busy or reads from a slow disk: try again when less runs"
                ) from error
            if finished.exit_code == 0:
                return log_path.read_text(encoding="utf-8", errors="replace")
            cause = real_cause(finished.stderr)
            found = cause.line if cause else f"it ended with {finished.exit_code}"
            raise PermanentError(
                f"{python} cannot run {what}: {found}. Install the requirements.txt of "
                f"{sd_scripts_dir} into that Python, or set KOHYA_PYTHON to the one that has them"
            )

    if "SIMULATED" in output([script, "--help"], script):
        return "simulated"
    lines = output(["-c", _LOOK_FOR_GPU], "PyTorch").splitlines()
    found = (line for line in reversed(lines) if line.startswith("["))
    version, gpus = json.loads(next(found, '["of an unknown version", []]'))
    if not gpus:
        return f"PyTorch {version} sees no GPU: trainings would take days on the CPU"
    shown = ", ".join(f"{name} ({total / 1024**3:.0f} GiB)" for name, total in gpus)
    return f"PyTorch {version}, {shown}"


def missing_tokenizers(cache_dir: Path, family: BaseModelFamily) -> list[Path]:
    """Return the folders that a training without internet access would lack."""
    return [path for name in _TOKENIZERS[family] if not (path := cache_dir / name).is_dir()]
