"""The environment of the programs that we start: an allow-list of variables, in this one place.

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

AWS = ("AWS_*",)
"""For a bucket whose access key is not set: the keys are what the machine has."""

POSTGRES_CLIENT = ("PG*", "KRB5*")
"""For libpq, as its page "Environment Variables" lists them."""

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
