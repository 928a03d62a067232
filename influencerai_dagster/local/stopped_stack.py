"""Start the S3 server of a stack that is down, with its settings, for a restore."""

from collections.abc import Iterator
from contextlib import contextmanager

from influencerai_dagster.local.environment import has_secrets, s3_server, stack_environment
from influencerai_dagster.local.probes import listens
from influencerai_dagster.local.supervisor import Supervisor
from influencerai_dagster.settings import Settings, process_environment, settings_from


@contextmanager
def with_object_store(own: Settings) -> Iterator[Settings]:
    """Give settings whose bucket answers, for the time of the block.

    Where a local stack was used in DATA_DIR and is down, its settings are given and its S3 server
    is started; anywhere else the settings are returned as they are.

    Args:
        own: as the command line found them.

    Raises:
        PermanentError: the S3 server does not start.
    """
    if not has_secrets(own.local.data_dir):
        yield own
        return
    stack = stack_environment(own)
    if own.s3.endpoint not in {None, stack["S3_ENDPOINT"]}:
        yield own
        return
    settings = own if own.s3.endpoint else settings_from({**stack, **own.variables_set()})
    if listens(own.local.s3_port):
        yield settings
        return
    service = s3_server(own).service(process_environment(), port_setting="LOCAL_S3_PORT")
    with Supervisor([service], data_dir=own.local.data_dir.resolve(), announce=print) as supervisor:
        supervisor.start()
        yield settings
