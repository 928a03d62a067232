"""Train a LoRA with sd-scripts: check, run, follow, verify.

A training always starts from zero in a folder of its own: kohya miscounts the steps of a resumed
one (docs/protocols/kohya.md, point 16).
"""

import math
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from influencerai_dagster.core.lora_training import TrainingStep
from influencerai_dagster.engines.kohya.causes import real_cause
from influencerai_dagster.engines.kohya.checks import check_before_training
from influencerai_dagster.engines.kohya.command import TrainingSpec, training_command
from influencerai_dagster.engines.kohya.dataset_config import (
    write_dataset_config,
    write_sample_prompts,
)
from influencerai_dagster.engines.kohya.failures import failure
from influencerai_dagster.engines.kohya.process import Finished, run_program
from influencerai_dagster.engines.kohya.progress import ProgressReader
from influencerai_dagster.engines.kohya.verify import verified_metadata
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.program_environment import program_environment

__all__ = ["TrainingResult", "TrainingSpec", "sd_scripts_commit", "train"]

UNKNOWN_COMMIT = "unknown"
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A training that worked.

    Attributes:
        weights_path: opened and checked.
        steps: optimizer steps, as asked for.
        final_loss: kohya's running mean after the last step; None if it never said.
        loss_curve: (step, running mean).
        sd_scripts_commit: of the trainer, or "unknown".
        is_simulated: made by the simulator.
    """

    weights_path: Path
    steps: int
    final_loss: float | None
    loss_curve: tuple[tuple[int, float], ...]
    seconds: float
    sd_scripts_commit: str
    is_simulated: bool
    log_path: Path


def train(
    training: TrainingSpec,
    *,
    on_step: Callable[[TrainingStep], None] = lambda _: None,
    on_sample: Callable[[Path], None] = lambda _: None,
) -> TrainingResult:
    """Train a LoRA and verify its weights.

    The `output` of an earlier attempt in the work folder is removed first.

    Args:
        training: what to train.
        on_step: called for every reported step, twice if its loss comes later.
        on_sample: called with each finished sample image.

    Raises:
        PermanentError: wrong input or parameters, loss NaN, or invalid weights; the text
            has kohya's real cause and what to do.
        TransientError: out of host memory or time, or stopped from outside; the caller may retry.
        InsufficientStorageError: the disk is full.
        BaseException: whatever a callback raises, and interruptions; the process group was ended.
    """
    training.work_dir.mkdir(parents=True, exist_ok=True)
    check_before_training(training)
    shutil.rmtree(training.output_dir, ignore_errors=True)
    training.output_dir.mkdir()
    write_dataset_config(
        training.dataset_config_path, image_dir=training.image_dir, config=training.config
    )
    if training.has_samples:
        write_sample_prompts(
            training.sample_prompts_path, prompts=training.sample_prompts, config=training.config
        )
    started_at = time.time()
    watch = _Watch(training=training, on_step=on_step, on_sample=on_sample)
    finished = run_program(
        training_command(training),
        cwd=training.sd_scripts_dir,
        log_path=training.log_path,
        extra_variables=training.extra_variables,
        on_stderr=watch.read,
        on_tick=watch.look_for_samples,
        time_limit_seconds=training.time_limit_seconds,
    )
    watch.look_for_samples()
    metadata = _verified(training, finished, started_at)
    watch.end()
    return TrainingResult(
        weights_path=training.weights_path,
        steps=training.config.max_train_steps,
        final_loss=watch.losses.get(max(watch.losses)) if watch.losses else None,
        loss_curve=tuple(sorted(watch.losses.items())),
        seconds=finished.seconds,
        sd_scripts_commit=sd_scripts_commit(training.sd_scripts_dir),
        is_simulated="simulated" in metadata,
        log_path=training.log_path,
    )


def sd_scripts_commit(sd_scripts_dir: Path) -> str:
    """Return the commit of an sd-scripts checkout, or "unknown"."""
    repository = sd_scripts_dir / ".git"  # named, because git would also find a folder further up
    try:
        found = subprocess.run(  # noqa: S603 - constant arguments and a path
            ["git", f"--git-dir={repository}", "rev-parse", "HEAD"],  # noqa: S607 - git of the PATH
            env=program_environment(),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN_COMMIT
    return found.stdout.strip()


def _verified(training: TrainingSpec, finished: Finished, started_at: float) -> dict[str, str]:
    cause = real_cause(finished.stderr)
    has_nothing = not training.weights_path.is_file() and cause is not None
    if finished.exit_code != 0 or has_nothing:
        raise failure(
            finished.exit_code,
            finished.stderr,
            program=training.script,
            log_path=training.log_path,
        )
    return verified_metadata(
        training.weights_path, steps=training.config.max_train_steps, started_at=started_at
    )


@dataclass
class _Watch:
    """Follows a running training: its steps, its loss, its sample images."""

    training: TrainingSpec
    on_step: Callable[[TrainingStep], None]
    on_sample: Callable[[Path], None]
    losses: dict[int, float] = field(default_factory=dict)
    _reader: ProgressReader = field(default_factory=ProgressReader)
    _samples: set[Path] = field(default_factory=set)

    def read(self, stderr: str) -> None:
        self._follow(self._reader.feed(stderr))

    def end(self) -> None:
        self._follow(self._reader.end())

    def _follow(self, steps: list[TrainingStep]) -> None:
        for step in steps:
            self.on_step(step)
            if step.loss is None:
                continue
            if not math.isfinite(step.loss):
                raise PermanentError(self._nan_text(step))
            self.losses[step.step] = step.loss

    def look_for_samples(self) -> None:
        if not self.training.has_samples:
            return
        for path in sorted((self.training.output_dir / "sample").glob("*.png")):
            if path not in self._samples and path.read_bytes()[-len(_PNG_END) :] == _PNG_END:
                self._samples.add(path)
                self.on_sample(path)

    def _nan_text(self, step: TrainingStep) -> str:
        config = self.training.config
        rates = (f"{name} (now {rate:g})" for name, rate in config.rates().items())
        advice = f"lower {' and '.join(rates)}"
        if config.mixed_precision == "fp16":
            advice += ", or train with mixed_precision bf16 instead of fp16"
        return (
            f"the training was stopped at step {step.step} of {step.total_steps}: its loss became"
            f" {step.loss}, which makes every later checkpoint useless. Start again: {advice}; the"
            f" output is in {self.training.log_path}"
        )
