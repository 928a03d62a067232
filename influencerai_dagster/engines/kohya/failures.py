"""Turn the failure of an sd-scripts program into one of our errors, with what to do about it.

Source: docs/protocols/kohya.md, points 1 to 5. The rules look for the texts of
recorded/kohya/failures_digest.md. The cause itself is found in causes.py.
"""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.engines.kohya.causes import real_cause, redacted
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)

_MAX_CAUSE_LENGTH = 600


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    error: type[InfluencerAIError]
    meaning: str


def _rule(pattern: str, error: type[InfluencerAIError], meaning: str) -> _Rule:
    return _Rule(re.compile(pattern), error, meaning)


# The first that matches the traceback (or usage error) decides.
_RULES = (
    _rule(
        r"^No data found",
        PermanentError,
        "it found no image to train on, wrote nothing and reported success: check the image"
        " folder in its dataset.toml",
    ),
    _rule(
        r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        PermanentError,
        "the GPU has too little memory: lower resolution, train_batch_size or network_dim, turn on"
        " gradient_checkpointing, for FLUX also fp8_base and blocks_to_swap, or free the GPU",
    ),
    _rule(
        r"DefaultCPUAllocator: can't allocate|Cannot allocate memory|(?m:^MemoryError)",
        TransientError,
        "this machine has too little free memory: stop other programs or add memory",
    ),
    _rule(
        r"No space left on device|StorageFull|Disk quota exceeded|PytorchStreamWriter failed",
        InsufficientStorageError,
        "the disk is full and the file that was being written is broken: free space in the training"
        " folder (TRAINING_DIR)",
    ),
    _rule(
        r"_load_tokenizer|Can't load tokenizer",
        PermanentError,
        "a tokenizer could not be fetched from the Hugging Face Hub: on a machine without internet"
        " set KOHYA_TOKENIZER_CACHE_DIR to a folder with openai_clip-vit-large-patch14 (for SDXL"
        " also laion_CLIP-ViT-bigG-14-laion2B-39B-b160k, for FLUX also google_t5-v1_1-xxl)",
    ),
    _rule(
        r"neither a valid local path nor a valid repo id|not a valid model identifier",
        PermanentError,
        "the base model was not found: put its file into KOHYA_MODELS_DIR or correct base_model",
    ),
    _rule(
        r"UnpicklingError|Error while deserializing|invalid load key|in loading state_dict",
        PermanentError,
        "the base model file is broken, no checkpoint, or of another family than"
        " base_model_family: fetch it again or correct base_model",
    ),
    _rule(
        r"(?i)bitsandbytes",
        PermanentError,
        "the 8-bit optimizer needs bitsandbytes and a CUDA GPU: install it beside sd-scripts, or"
        " set optimizer_type to AdamW",
    ),
    _rule(
        r"module 'torch\.optim' has no attribute",
        PermanentError,
        "optimizer_type is not known to kohya: use AdamW, AdamW8bit, Adafactor, Lion or Prodigy",
    ),
    _rule(
        r"No xformers",
        PermanentError,
        "xformers is not installed beside sd-scripts: install it, or train with sdpa",
    ),
    _rule(
        r"mixed precision requires a GPU|mixed precision requires PyTorch|bf16 mixed precision",
        PermanentError,
        "mixed_precision does not work on this machine's processor: use a GPU that has it, or set"
        " mixed_precision to no",
    ),
    _rule(
        r"select_bucket",
        PermanentError,
        "an image does not fit a bucket: at this resolution its shorter side would be less than 64"
        " px, or its file is empty (kohya does not say which): remove long, narrow images from the"
        " dataset, or raise resolution",
    ),
    _rule(
        r"image file is truncated|cannot identify image file|broken data stream",
        PermanentError,
        "an image cannot be read: remove it from the dataset, or upload it again",
    ),
    _rule(
        r"caption file is empty",
        PermanentError,
        "an image has an empty caption file: write its caption or remove the file",
    ),
    _rule(
        r"TomlDecodeError|voluptuous\.error\.",
        PermanentError,
        "kohya refused the dataset TOML: this sd-scripts has other keys than v0.10, take that one",
    ),
    _rule(
        r"\.py: error: ",
        PermanentError,
        "kohya refused an option: this sd-scripts has other options than v0.10, take that one",
    ),
    _rule(
        r"offline mode is enabled|Cannot find the requested files in the disk cache"
        r"|stat: path should be string.*NoneType|onnx model not found",
        PermanentError,
        "a model that has to be downloaded is not on this machine: give it internet once (and unset"
        " HF_HUB_OFFLINE), or put the model into its cache",
    ),
    _rule(
        r"ConnectionError|couldn't connect|Max retries|name resolution|ReadTimeout|URLError",
        TransientError,
        "a model could not be downloaded: the Hugging Face Hub is away, or this machine has no"
        " internet",
    ),
    _rule(
        r"ModuleNotFoundError|ImportError",
        PermanentError,
        "the Python of sd-scripts (KOHYA_PYTHON) lacks a package: install its requirements.txt",
    ),
    _rule(
        r"CUDA error|CUDA driver|NVIDIA driver|cudaGetDeviceCount|No CUDA GPUs are available",
        TransientError,
        "the GPU or its driver failed: run nvidia-smi",
    ),
)
_SIGNAL_MEANINGS = {
    signal.SIGKILL: "most likely the host's out-of-memory killer (see dmesg): free or add memory",
    signal.SIGTERM: "it was stopped from outside",
    signal.SIGINT: "it was stopped from outside",
}


def failure(
    exit_code: int, stderr: str, *, program: str, log_path: Path | None = None
) -> InfluencerAIError:
    """Return the error for a failed program; the caller raises it.

    Args:
        exit_code: not 0, negative for a signal; or 0 if the program did nothing.
        stderr: what it printed; the last part is enough.
        program: its name for the text.
        log_path: where all of it can be read.
    """
    where = f"; the whole output is in {log_path}" if log_path else ""
    number = _signal_of(exit_code, stderr)
    if number is not None:
        meaning = _SIGNAL_MEANINGS.get(number, "it crashed")
        text = f"{program} was ended by {number.name}: {meaning}{where}"
        return TransientError(text)
    cause = real_cause(stderr)
    if cause is None:
        return PermanentError(f"{program} ended with exit code {exit_code} and no reason{where}")
    shown = redacted(cause.line)[:_MAX_CAUSE_LENGTH]
    for rule in _RULES:
        if rule.pattern.search(cause.context):
            return rule.error(f"{program} failed: {rule.meaning}. kohya said: {shown}{where}")
    return PermanentError(f"{program} failed with exit code {exit_code}: {shown}{where}")


def _signal_of(exit_code: int, stderr: str) -> signal.Signals | None:
    if exit_code < 0:
        number = -exit_code
    elif (match := re.search(r"died with <Signals\.\w+: (\d+)>", stderr)) is not None:
        number = int(match[1])
    else:
        return None
    try:
        return signal.Signals(number)
    except ValueError:
        return None
