"""Limit how many steps of a kind run at once: Dagster's pools, and the runs that wait for one.

Ops name their own pool. With GPU_SHARED all ops that use the GPU get the one pool `gpu` instead, so
that a training and renders never run at the same time. startup.py sets the limits.
"""

import inspect

import dagster as dg

from influencerai_dagster.core.dagster_names import GPU_POOL, IMAGE_POOL, LORA_POOL, VIDEO_POOL
from influencerai_dagster.settings import Settings

_PAGE = 100


def pool_limits(settings: Settings) -> dict[str, int]:
    """Return the limit of each pool: QUEUE_CONCURRENCY_*, or one step where the GPU is shared."""
    if settings.training.is_gpu_shared:
        return {GPU_POOL: 1}
    return {
        IMAGE_POOL: settings.queue_concurrency.content_gen,
        VIDEO_POOL: settings.queue_concurrency.video_gen,
        LORA_POOL: settings.queue_concurrency.lora_training,
    }


def pooled(op: dg.OpDefinition, settings: Settings) -> dg.OpDefinition:
    """Return an op that uses the GPU, in its own pool or in that of a shared GPU."""
    if not settings.training.is_gpu_shared:
        return op
    # Its code version comes with its outputs.
    copy = dg.op(
        name=op.name,
        description=op.description,
        pool=GPU_POOL,
        ins=dict(op.ins),
        out=dict(op.outs),
        config_schema=op.config_schema.as_field(),
    )
    return copy(inspect.unwrap(op))


def num_runs_waiting_for_pool(
    instance: dg.DagsterInstance, pool: str, *, at_most: int = _PAGE
) -> int:
    """Count the runs that wait for a slot of a full pool; 0 while it has a free slot.

    They are queued runs whose first step is in the pool, and runs whose next step is. Costs three
    small queries while no run waits.

    Args:
        at_most: stop counting there.
    """
    info = instance.event_log_storage.get_concurrency_info(pool)
    if len(info.claimed_slots) < info.slot_count:
        return 0
    waiting = {step.run_id for step in info.pending_steps if step.assigned_timestamp is None}
    queued, cursor = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), None
    while len(waiting) < at_most:
        runs = instance.get_runs(queued, cursor=cursor, limit=_PAGE, ascending=True)
        waiting |= {run.run_id for run in runs if begins_with(run, pool)}
        if len(runs) < _PAGE:
            break
        cursor = runs[-1].run_id
    return min(len(waiting), at_most)


def begins_with(run: dg.DagsterRun, pool: str) -> bool:
    """Return whether a first step of the run takes a slot of the pool."""
    needs = run.run_op_concurrency
    return needs is not None and pool in needs.root_key_counts
