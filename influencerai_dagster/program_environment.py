"""Limit the environment of programs that we start to an allow-list of variables.

A program gets what any program needs, the groups that its caller names, and nothing else; its
caller adds the secrets that this one program uses. The time zone of every program is UTC, whatever
that of its caller is: names made of local time (Barman's) would not be in order. Settings are read
in settings/, not here.
"""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
)
"""For programs that reach other machines: proxies and certificate authorities."""

AWS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_*"),
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_*", "AWS_EC2_METADATA_*", "AWS_STS_*"),
)
"""For a bucket without keys of its own: profiles and roles, as the SDKs of AWS find them."""

POSTGRES_CLIENT = (
    *("PGPASSWORD", "PGPASSFILE", "PGSSL*", "PGCHANNELBINDING", "PGREQUIREAUTH", "PGREQUIRESSL"),
    *("PGGSS*", "PGKRB*", "KRB5*"),
)
"""For libpq: how to prove who we are, and to whom. Its other variables change where a connection
leads and how it behaves (PGHOSTADDR, PGSERVICE, PGOPTIONS, PGCLIENTENCODING): URLs say that."""

MACHINE_LEARNING = (
    # GPUs: NVIDIA, AMD, Intel.
    *("CUDA_*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*"),
    *("HIP_*", "HSA_*", "ROCM_*", "ROCR_*", "MIOPEN_*", "AMD_*", "GPU_DEVICE_ORDINAL", "GPU_MAX_*"),
    *("ONEAPI_*", "SYCL_*", "ZE_*"),
    # Threads and memory.
    *("OMP_*", "MKL_*", "OPENBLAS_*", "GOMP_*", "KMP_*", "NUMEXPR_*", "MALLOC_*"),
    # PyTorch and what sd-scripts builds on; HF_* has the token for models behind a licence.
    *("TORCH*", "PYTORCH_*", "TRITON_*", "ACCELERATE_*", "XFORMERS_*", "BNB_*", "BITSANDBYTES_*"),
    *("HF_*", "HUGGINGFACE_*", "HUGGING_FACE_*", "TRANSFORMERS_*", "DIFFUSERS_*", "TOKENIZERS_*"),
    *("SAFETENSORS_*", "ORT_*", "TF_*", "XLA_*"),
)
"""For kohya sd-scripts."""

UTC = {"TZ": "UTC"}

_EVERY_PROGRAM = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TEMP", "TMP", "XDG_*"),
    *("LANG", "LANGUAGE", "LC_*"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "NSS_WRAPPER_*", "GLIBC_TUNABLES", "OPENSSL_CONF"),
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "MPLCONFIGDIR"),
    "INFLUENCERAI_STACK_ID",  # the mark by which the local stack finds its processes
)


def program_environment(
    *further: str, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the complete environment of a program.

    Args:
        further: names of variables that this program needs too; "*" at the end stands for any end.
        inherited: where the values come from; None is the environment of this process.
    """
    allowed = (*_EVERY_PROGRAM, *further)
    source = os.environ if inherited is None else inherited
    found = {
        name: value
        for name, value in source.items()
        if any(fnmatchcase(name, pattern) for pattern in allowed)
    }
    return found | UTC


def without_postgres_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what would change libpq's connections behind their URLs."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("PG") or any(fnmatchcase(name, item) for item in POSTGRES_CLIENT)
    }


def ignore_postgres_variables() -> None:
    """Let libpq, which reads the environment of this process itself, find the URLs alone.

    Called before a connection is made: libpq has no option for it.
    """
    for name in os.environ.keys() - without_postgres_variables(os.environ).keys():
        del os.environ[name]
