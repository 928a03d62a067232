"""Define every error that this project raises on purpose; code chooses by class, never by text.

    InfluencerAIError
    ├── TransientError                   a server is away, a time limit passed: try again later
    │   ├── InsufficientStorageError     the object store or a disk is full: wait for space
    │   ├── BackupRefusedError           Barman may not begin a backup yet
    │   ├── WalSummariesMissingError     no incremental backup is possible: take a full one
    │   ├── LeaseLostError               another worker may have the job: drop it
    │   ├── OtherServerError             another ComfyUI server may take the job
    │   │                                (generation/render/session.py)
    │   ├── NeverStartedError            ComfyUI never began the prompt (engines/comfyui/waiting.py)
    │   ├── AnswerTooLargeError          ComfyUI answered too many bytes (engines/comfyui/http.py)
    │   ├── RateLimitedError             OpenRouter asks to wait (engines/openrouter/failures.py)
    │   └── MaybePaidError               an answer of OpenRouter was lost, and may be billed: do not
    │                                    repeat the request at once (engines/openrouter/failures.py)
    └── PermanentError                   trying again changes nothing: fail now and say why
        ├── ObjectExistsError            S3 refused to overwrite an object
        ├── ObjectNotFoundError          an object that should be on S3 is not there
        ├── UnknownNameError             nothing has this name: core/names.py writes the text
        ├── TooManyPendingJobsError      the tenant's queue is full: submit less, or wait
        ├── RefusedRequestError          the API answers with a problem (api/problems.py)
        ├── InvalidTokenError            a token was not signed here, or has expired
        │                                (api/auth/tokens.py)
        ├── StartedBeforeError           a run has a process: it starts no second one
        │                                (orchestration/run_launcher/run_records.py)
        ├── WithdrawnError               a run was stopped before it began
        │                                (orchestration/run_launcher/run_records.py)
        ├── UnfitServerError             this ComfyUI server lacks a node or a model
        │                                (engines/comfyui/rejections.py)
        ├── RefusedInputError            a model refuses this one input
        │                                (engines/openrouter/failures.py)
        ├── TokensSpentError             a model used all its tokens before it wrote a word
        │                                (engines/openrouter/failures.py)
        └── TooLargeToDecodeError        an image needs more memory than any may have
                                         (media/decoding.py)

A text names what was tried, the object, what was found, and what to do. An error of one engine
stands in its folder.
"""

from collections.abc import Mapping
from types import MappingProxyType


class InfluencerAIError(Exception):
    """Base of all errors of this project."""


class TransientError(InfluencerAIError):
    """A passing failure: the same call may work later."""


class InsufficientStorageError(TransientError):
    """No space is left for the bytes; nothing that was there before is lost."""


class LeaseLostError(TransientError):
    """The worker's lease of a job is over: the job was cancelled, or the lease expired.

    Nothing was written. The worker drops the job; the worker that holds it now goes on.
    """


class BackupRefusedError(TransientError):
    """Barman refused to begin a backup.

    Attributes:
        problems: its failed checks, name → hint; empty if it named none.
    """

    def __init__(self, text: str, problems: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(text)
        self.problems = problems


class WalSummariesMissingError(TransientError):
    """PostgreSQL lacks summaries of the WAL since the last full backup."""


class PermanentError(InfluencerAIError):
    """A failure that stays until someone changes something."""


class ObjectExistsError(PermanentError):
    """The object store refused to overwrite an object."""


class ObjectNotFoundError(PermanentError):
    """An object that a manifest or a caller names is not on S3."""


class TooManyPendingJobsError(PermanentError):
    """The tenant has as many pending jobs as it may; nothing was submitted.

    Permanent, although the queue empties with time: the same call at once is refused again.
    """


class UnknownNameError(PermanentError):
    """Nothing has this name; core/names.py writes the text.

    Attributes:
        operator_hint: what may have been meant, where only an operator may read it: the names of
            other tenants. It is not part of the text.
    """

    def __init__(self, text: str, *, operator_hint: str = "") -> None:
        super().__init__(text)
        self.operator_hint = operator_hint
