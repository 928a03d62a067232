"""Pools: moves the ops of the GPU into one pool, and counts the runs that wait for a slot.

Ops name their own pool. With GPU_SHARED all ops that use the GPU get the pool `gpu` instead, so
that a training and renders never run at the same time. startup.py sets the limits.
"""

import inspect

import dagster as dg

from influencerai_dagster.core.dagster_names import GPU_POOL

_PAGE = 100


def on_shared_gpu(op: dg.OpDefinition) -> dg.OpDefinition:
    """Return the same op in the pool of the shared GPU."""
    # The code version is part of the outputs.
    copy = dg.op(name=op.name, pool=GPU_POOL, ins=dict(op.ins), out=dict(op.outs))
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
        waiting |= {run.run_id for run in runs if _begins_with(run, pool)}
        if len(runs) < _PAGE:
            break
        cursor = runs[-1].run_id
    return min(len(waiting), at_most)


def _begins_with(run: dg.DagsterRun, pool: str) -> bool:
    needs = run.run_op_concurrency
    return needs is not None and pool in needs.root_key_counts
