"""Compute ComfyUI's prompt_id from a job and its claim."""

from uuid import UUID, uuid5

_PROMPT_ID_NAMESPACE = UUID("6f0f2e1c-8f0b-5d43-9a53-3f6a4c1a7b10")


def prompt_id(job_id: UUID, claim: int, segment: int = 0) -> str:
    """Return ComfyUI's prompt_id of one claim of a job (1 is the first).

    The worker that claims the job next computes it again, and asks the servers for it before it
    renders.

    Args:
        segment: which part of a long video, 0 is the first and that of every other job.
    """
    name = f"{job_id}/{claim}" if segment == 0 else f"{job_id}/{claim}/{segment}"
    return str(uuid5(_PROMPT_ID_NAMESPACE, name))
