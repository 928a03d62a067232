"""Play the tenants: they submit jobs, submit again under the same keys, and cancel.

A tenant whose request failed sends it again, as a client does that got no answer; what was answered
is remembered for the inspection.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.core.keys import today
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import ImageJobPayload, JobRequest
from influencerai_dagster_tests.chaos.scenario import (
    BAD_SAMPLER,
    TENANTS,
    Action,
    Event,
    Submission,
    repeated,
)


@dataclass
class Customers:
    """The tenants' side of a run.

    Attributes:
        submitted: all submissions that the job queue took, in their order.
        job_ids: what the job queue answered, by idempotency key; one id each, if all is well.
        cancelled: jobs that the job queue said are cancelled.
        happened: how often each of SUBMIT_AGAIN and CANCEL was done.
    """

    engine: Engine
    submitted: list[Submission] = field(default_factory=list)
    job_ids: "defaultdict[str, set[UUID]]" = field(default_factory=lambda: defaultdict(set))
    cancelled: set[UUID] = field(default_factory=set)
    happened: list[Action] = field(default_factory=list)

    def join(self) -> None:
        """Become tenants of the code_location."""
        with transaction(self.engine) as session:
            for tenant in TENANTS:
                add_tenant(session, tenant)

    def submit(self, submissions: Sequence[Submission]) -> bool:
        """Submit jobs; False if the job queue did not answer, and it has to be done again."""
        if not self._submit(submissions):
            return False
        self.submitted += submissions
        return True

    def act(self, event: Event) -> bool:
        """Submit again or cancel; False if the job queue did not answer."""
        if event.action is Action.SUBMIT_AGAIN:
            is_done = self._submit(repeated(self.submitted, event))
        else:
            is_done = self._cancel(self.submitted[event.target % len(self.submitted)])
        if is_done:
            self.happened.append(event.action)
        return is_done

    def _submit(self, submissions: Iterable[Submission]) -> bool:
        by_tenant: defaultdict[str, list[Submission]] = defaultdict(list)
        for submission in submissions:
            by_tenant[submission.tenant].append(submission)
        try:
            for tenant, theirs in by_tenant.items():
                with transaction(self.engine) as session:
                    jobs = job_queue.submit(session, tenant, today(), [_request(o) for o in theirs])
                for submission, job in zip(theirs, jobs, strict=True):
                    self.job_ids[submission.key].add(job.id)
        except TransientError:
            return False
        return True

    def _cancel(self, submission: Submission) -> bool:
        (job_id, *_) = self.job_ids[submission.key]
        try:
            with transaction(self.engine) as session:
                job = job_queue.cancel(session, submission.tenant, job_id)
        except TransientError:
            return False
        if job.status is JobStatus.CANCELLED:
            self.cancelled.add(job.id)
        return True


def _request(submission: Submission) -> JobRequest:
    payload = ImageJobPayload(
        prompt=f"submission {submission.number}",
        seed=submission.number,  # ComfyUI answers a prompt that it knows from its cache
        steps=submission.steps,
        width_px=64,
        height_px=64,
        sampler_name=BAD_SAMPLER if submission.is_bad else None,
    )
    return JobRequest(payload=payload, idempotency_key=submission.key, priority=submission.priority)
