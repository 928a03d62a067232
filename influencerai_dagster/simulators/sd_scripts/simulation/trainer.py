"""Simulate a training: from the command line to the weights, in seconds.

It knows the options that this project gives; others that would change the course of a real training
(a resumed one, a config file) end it with a clear line.
"""

import argparse
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from influencerai_dagster.simulators.sd_scripts.simulation.console import Bar, Console
from influencerai_dagster.simulators.sd_scripts.simulation.dataset import (
    SimulatedDataset,
    read_dataset,
)
from influencerai_dagster.simulators.sd_scripts.simulation.errors import (
    OutOfMemoryError,
    SafetensorError,
)
from influencerai_dagster.simulators.sd_scripts.simulation.faults import fault, seconds_per_step
from influencerai_dagster.simulators.sd_scripts.simulation.metadata import lora_metadata
from influencerai_dagster.simulators.sd_scripts.simulation.options import parser
from influencerai_dagster.simulators.sd_scripts.simulation.samples import draw_samples
from influencerai_dagster.simulators.sd_scripts.simulation.weights import lora_bytes, write_lora

_NOT_SIMULATED = ("resume", "config_file", "save_state", "train_data_dir", "network_weights")
_OPTIMIZERS = {
    *("adamw", "adamw8bit", "pagedadamw", "pagedadamw8bit", "pagedadamw32bit"),
    *("lion", "lion8bit", "pagedlion8bit", "sgdnesterov", "sgdnesterov8bit", "adafactor"),
    *("prodigy", "dadaptation", "dadaptadampreprint", "dadaptadagrad", "dadaptadam"),
    *("dadaptadan", "dadaptadanip", "dadaptlion", "dadaptsgd"),
    *("adamwschedulefree", "radamschedulefree", "sgdschedulefree"),
}
_NAN_STEP = 2


def main(trainer: str) -> int:
    """Run one trainer with the arguments of this process."""
    args = parser(trainer).parse_args()
    for name in _NOT_SIMULATED:
        if getattr(args, name):
            raise SystemExit(f"{trainer}.py is simulated and does not do --{name}")
    return SimulatedTrainer(trainer, args).train()


class SimulatedTrainer:
    """One simulated training."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self._name = name
        self._args = args
        self._console = Console()
        self._fault = fault()
        self._started_at = time.time()
        self._random = random.Random(args.seed)  # noqa: S311 - no secret
        self._losses: list[float] = []

    def train(self) -> int:
        """Train; returns the exit code."""
        args = self._args
        self._console.log("INFO", f"SIMULATED {self._name}.py", "strategy_sd.py:26")
        self._load_tokenizer()
        dataset = read_dataset(args.dataset_config, self._console, cache_latents=args.cache_latents)
        if not dataset.num_train_images:
            text = "No data found. Please verify arguments (train_data_dir must be the parent of"
            self._console.log("ERROR", f"{text} folders with images)", "train_network.py:576")
            return 0
        self._load_models()
        self._announce(dataset)
        bar = Bar(self._console, args.max_train_steps)
        for step in range(1, args.max_train_steps + 1):
            self._step(step, dataset, bar)
        self._save(dataset, args.max_train_steps, is_last=True)
        bar.show(args.max_train_steps, self._average(dataset))
        bar.close()
        self._console.log("INFO", "model saved.", "train_network.py:1729")
        return 0

    def _load_tokenizer(self) -> None:
        if self._fault == "offline" and self._args.tokenizer_cache_dir is None:
            raise TypeError("expected str, bytes or os.PathLike object, not NoneType")

    def _load_models(self) -> None:
        args = self._args
        if self._name == "sdxl_train_network" and args.cache_text_encoder_outputs:
            assert args.network_train_unet_only, (  # noqa: S101 - as kohya's
                "network for Text Encoder cannot be trained with caching Text Encoder outputs"
            )
        self._console.log("INFO", "preparing accelerator", "train_network.py:593")
        self._console.print_line("accelerator device: cpu")
        base_model = args.pretrained_model_name_or_path
        if base_model is None or not Path(base_model).exists():
            raise ValueError(
                f'The provided pretrained_model_name_or_path "{base_model}" is neither a valid'
                " local path nor a valid repo id. Please check the parameter."
            )
        if self._name == "flux_train_network":
            for path in (args.clip_l, args.t5xxl, args.ae):
                Path(path).stat()
        self._console.print_line(f"import network module: {args.network_module}")
        self._console.print_line("prepare optimizer, data loader etc.")
        if args.optimizer_type.lower() not in _OPTIMIZERS:
            raise AttributeError(f"module 'torch.optim' has no attribute '{args.optimizer_type}'")

    def _announce(self, dataset: SimulatedDataset) -> None:
        epochs = math.ceil(self._args.max_train_steps / self._batches(dataset))
        count = dataset.num_train_images
        for line in (
            "running training / 学習開始",
            f"  num train images * repeats / 学習画像の数×繰り返し回数: {count}",
            "  num validation images * repeats / 学習画像の数×繰り返し回数: 0",
            "  num reg images / 正則化画像の数: 0",
            f"  num batches per epoch / 1epochのバッチ数: {self._batches(dataset)}",
            f"  num epochs / epoch数: {epochs}",
            f"  batch size per device / バッチサイズ: {dataset.batch_size}",
            "  gradient accumulation steps / 勾配を合計するステップ数 = 1",
            f"  total optimization steps / 学習ステップ数: {self._args.max_train_steps}",
            "",
            f"epoch 1/{epochs}",
            "",
        ):
            self._console.print_line(line)

    def _step(self, step: int, dataset: SimulatedDataset, bar: Bar) -> None:
        args = self._args
        time.sleep(seconds_per_step())
        if self._fault == "oom":
            raise OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 72.00 MiB. GPU 0 has a total capacity of"
                " 15.99 GiB of which 0 bytes is free."
            )
        bar.show(step, self._average(dataset))
        self._losses.append(self._loss(step))
        if args.sample_every_n_steps and step % args.sample_every_n_steps == 0:
            draw_samples(args, self._console, step)
        if args.save_every_n_steps and step % args.save_every_n_steps == 0:
            self._save(dataset, step, is_last=False)
        bar.show(step, self._average(dataset))
        if self._fault == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "hang":
            _hang()

    def _loss(self, step: int) -> float:
        if self._args.learning_rate > 1 or (self._fault == "nan" and step >= _NAN_STEP):
            return math.nan
        progress = step / self._args.max_train_steps
        return 0.08 + 0.12 * math.exp(-3 * progress) + self._random.gauss(0, 0.004)

    def _average(self, dataset: SimulatedDataset) -> float | None:
        """Return the mean over as many losses as an epoch has, as kohya's loss recorder does."""
        recent = self._losses[-self._batches(dataset) :]
        return sum(recent) / len(recent) if recent else None

    def _batches(self, dataset: SimulatedDataset) -> int:
        return math.ceil(dataset.num_train_images / dataset.batch_size)

    def _save(self, dataset: SimulatedDataset, steps: int, *, is_last: bool) -> None:
        args = self._args
        name = args.output_name if is_last else f"{args.output_name}-step{steps:08d}"
        path = Path(args.output_dir) / f"{name}.safetensors"
        self._console.print_line(f"\nsaving checkpoint: {path}")
        content = lora_bytes(
            self._name,
            network_dim=args.network_dim,
            network_alpha=args.network_alpha,
            is_unet_only=args.network_train_unet_only,
            save_precision=args.save_precision,
            seed=args.seed or 0,
            is_nan=any(math.isnan(loss) for loss in self._losses),
            metadata=lora_metadata(
                self._name, args, dataset, steps=steps, started_at=self._started_at
            ),
        )
        if self._fault in ("truncated", "disk_full"):
            content = content[: len(content) // 2]
        if self._fault != "no_file":
            write_lora(path, content)
        if self._fault == "disk_full":
            raise SafetensorError(
                "Error while serializing: IoError(Os { code: 28, kind: StorageFull,"
                ' message: "No space left on device" })'
            )


def _hang() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    child.wait()
