import re

import pytest

from influencerai_dagster.engines.kohya.causes import real_cause, redacted
from influencerai_dagster.engines.kohya.failures import failure
from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)
from influencerai_dagster_tests.testing.kohya_trainings import RECORDED

DIGEST = {
    name: (int(exit_code), stderr)
    for name, exit_code, stderr in re.findall(
        r"^## (\S+): rc (\d+)\n```\n(.*?)\n```",
        (RECORDED / "failures_digest.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
}
# run: the class, what kohya said, what to do
EXPECTED: dict[str, tuple[type[InfluencerAIError], str, str]] = {
    "caption_blip_missing_deps": (PermanentError, "No module named 'timm'", "KOHYA_PYTHON"),
    "caption_blip_no_pythonpath": (PermanentError, "No module named 'library'", "KOHYA_PYTHON"),
    "caption_blip_offline": (PermanentError, "not NoneType", "internet"),
    "caption_wd14_no_pythonpath": (PermanentError, "No module named 'library'", "KOHYA_PYTHON"),
    "caption_wd14_offline": (PermanentError, "offline mode is enabled", "HF_HUB_OFFLINE"),
    "caption_wd14_offline_second_run": (PermanentError, "No module named 'onnx'", "KOHYA_PYTHON"),
    "fail_bad_toml_syntax": (PermanentError, "TomlDecodeError", "TOML"),
    "fail_base_model_not_a_model": (PermanentError, "UnpicklingError", "base model"),
    "fail_bitsandbytes_missing": (PermanentError, "No bitsandbytes", "optimizer_type to AdamW"),
    "fail_corrupt_jpg_cache_latents": (PermanentError, "image file is truncated", "image"),
    "fail_corrupt_jpg_late": (PermanentError, "image file is truncated", "image"),
    "fail_disk_full": (InsufficientStorageError, "StorageFull", "free space"),
    "fail_empty_caption_file": (PermanentError, "emptycap/img_03.txt", "caption"),
    "fail_missing_base_model": (PermanentError, "/opt/kohya/models/nope", "KOHYA_MODELS_DIR"),
    "fail_tokenizer_offline": (PermanentError, "not NoneType", "KOHYA_TOKENIZER_CACHE_DIR"),
    "fail_toml_missing_file": (PermanentError, "/opt/kohya/cfg/nope.toml", "exit code 1"),
    "fail_toml_unknown_key": (PermanentError, "num_repeat_typo", "TOML"),
    "fail_toml_wrong_type": (PermanentError, "expected int", "TOML"),
    "fail_unknown_cli_flag": (PermanentError, "--no_such_flag 3", "v0.10"),
    "fail_unknown_optimizer": (PermanentError, "'NoSuchOptimizer'", "optimizer_type"),
    "fail_xformers_missing": (PermanentError, "No xformers", "sdpa"),
    "fail_zero_byte_image": (PermanentError, "division by zero", "raise resolution"),
    "oom_cpu_aslimit": (TransientError, "can't allocate memory", "memory"),
    "quiet_bad_toml": (PermanentError, "TomlDecodeError", "TOML"),
    "resume_missing_dir": (PermanentError, "nope-state", "exit code 1"),
    "resume_too_few_steps": (PermanentError, "max_train_steps", "exit code 1"),
    "sample_prompts_not_given": (PermanentError, "not NoneType", "internet"),
    "sdxl_docs_flag": (PermanentError, "--text_encoder_lr1", "v0.10"),
}


def recorded_stderr(run: str) -> str:
    if run in DIGEST:
        stderr = DIGEST[run][1]
        is_cut_traceback = stderr.startswith(" ") and "error: unrecognized" not in stderr
        return f"Traceback (most recent call last):\n{stderr}" if is_cut_traceback else stderr
    return (RECORDED / f"{run}.stderr.raw").read_bytes().decode()


def test_every_recorded_failure_is_expected_here() -> None:
    recorded = {path.name.split(".")[0] for path in RECORDED.glob("fail_*.stderr.raw")}
    without_error = {"fail_empty_dataset", "fail_missing_image_dir"}
    assert (set(DIGEST) | recorded) - without_error == set(EXPECTED)


@pytest.mark.parametrize("run", sorted(EXPECTED))
def test_a_recorded_failure_is_told_with_its_real_cause_and_what_to_do(run: str) -> None:
    error_class, said, advice = EXPECTED[run]
    exit_code = DIGEST[run][0] if run in DIGEST else 1
    error = failure(exit_code, recorded_stderr(run), program="train_network.py")
    assert type(error) is error_class
    assert said in str(error)
    assert advice in str(error)


@pytest.mark.parametrize("run", sorted(EXPECTED))
def test_the_command_line_that_accelerate_repeats_is_never_shown(run: str) -> None:
    error = failure(1, recorded_stderr(run), program="train_network.py")
    assert "CalledProcessError" not in str(error)
    assert "--pretrained_model_name_or_path" not in str(error)


@pytest.mark.parametrize("run", ["fail_empty_dataset", "fail_missing_image_dir"])
def test_an_exit_without_data_has_a_cause_although_it_is_no_error_to_kohya(run: str) -> None:
    error = failure(0, recorded_stderr(run), program="train_network.py")
    assert "No data found" in str(error)


@pytest.mark.parametrize(
    "wording", ["torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "RuntimeError"]
)
def test_too_little_gpu_memory_is_told_in_every_wording_of_torch(wording: str) -> None:
    texts = (RECORDED / "oom_text.txt").read_text(encoding="utf-8")
    (text,) = re.findall(rf"{wording}: (CUDA out of memory.*)", texts)
    stderr = f'Traceback (most recent call last):\n  File "x.py", line 1\n{wording}: {text}\n'
    error = failure(1, stderr, program="train_network.py")
    assert type(error) is PermanentError
    for advice in ("resolution", "train_batch_size", "gradient_checkpointing", "blocks_to_swap"):
        assert advice in str(error)


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        pytest.param(-9, "", id="plain python"),
        pytest.param(1, recorded_stderr("sigkill_child"), id="accelerate"),
    ],
)
def test_sigkill_is_the_hosts_memory_and_may_be_tried_again(exit_code: int, stderr: str) -> None:
    error = failure(exit_code, stderr, program="train_network.py")
    assert type(error) is TransientError
    assert "out-of-memory killer" in str(error)


def test_a_failure_without_a_word_names_exit_code_and_program() -> None:
    error = failure(3, "steps: 50%", program="train_network.py")
    assert str(error) == "train_network.py ended with exit code 3 and no reason"


def test_an_exception_that_was_only_logged_before_is_not_the_cause() -> None:
    first = 'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 1\nWARNING x\n'
    second = 'Traceback (most recent call last):\n  File "b.py", line 2\nValueError: 2\n'
    cause = real_cause(first + second)
    assert cause is not None
    assert cause.line == "ValueError: 2"
    assert "KeyError" not in cause.context


def test_what_an_exception_was_raised_from_belongs_to_its_cause() -> None:
    stderr = (
        'Traceback (most recent call last):\n  File "a.py", line 1\nConnectionError: hub\n\n'
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "b.py", line 2\nOSError: no file\n'
    )
    error = failure(1, stderr, program="make_captions.py")
    assert type(error) is TransientError
    assert "OSError: no file" in str(error)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("401 for token hf_abcdefghijklmnop", "hf_abcdefghijklmnop"),
        ("--huggingface_token=abc123", "abc123"),
        ("--wandb_api_key abc123", "abc123"),
        ("['--huggingface_token', 'abc123']", "abc123"),
        ("postgresql://user:pass1@host/db", "pass1"),
        ("sk-or-v1-0123456789", "sk-or-v1-0123456789"),
    ],
)
def test_secrets_are_hidden(text: str, secret: str) -> None:
    assert secret not in redacted(text)
    error = failure(1, f"Traceback (most recent call last):\nValueError: {text}\n", program="x.py")
    assert secret not in str(error)
