"""Return a generation job as the document that the command line and the tenant API show."""

from typing import Any

from influencerai_dagster.generation.queue import Job


def job_document(job: Job) -> dict[str, Any]:
    """Return the fields of a job that its tenant may see; times are UTC."""
    return {
        "job_id": job.id,
        "tenant": job.tenant,
        "day": job.day,
        "kind": job.kind.value,
        "status": job.status.value,
        "priority": job.priority,
        "idempotency_key": job.idempotency_key,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "progress": round(job.progress, 4),
        "submitted_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "not_before": job.not_before,
        "object_key": (job.result or {}).get("object_key"),
        "error": job.error,
        "error_class": job.error_class,
        "gpu_seconds": job.gpu_seconds,
        "run_id": job.dagster_run_id,
        "depends_on": job.depends_on,
        "payload": job.payload.model_dump(mode="json"),
    }
