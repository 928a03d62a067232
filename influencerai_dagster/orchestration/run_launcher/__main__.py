"""Start a code server with its fork server: `python -m … dagster api grpc --module-name … …`."""

import sys
from functools import partial
from uuid import uuid4

from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.orchestration.dagster_process import prepare_process, run_program
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder
from influencerai_dagster.settings import load_settings


def main() -> None:
    """Load the definitions that the arguments name, then serve them and fork their runs."""
    prepare_process()
    # Imported late: Dagster reads variables that the line above sets.
    from influencerai_dagster.orchestration.run_launcher.preloaded import preload  # noqa: PLC0415
    from influencerai_dagster.orchestration.run_launcher.run_ends import report_ends  # noqa: PLC0415
    from influencerai_dagster.orchestration.run_launcher.server import ForkServer  # noqa: PLC0415

    home = load_settings().dagster.home
    if home is None:
        sys.exit("The fork server cannot start: set DAGSTER_HOME to the folder of dagster.yaml")
    arguments, code_server_id = sys.argv[1:], str(uuid4())
    files = preload(arguments[arguments.index("--module-name") + 1])
    server = ForkServer(
        RunFolder.below(home),
        code_server_id=code_server_id,
        run_code_server=partial(run_program, [*arguments, "--fixed-server-id", code_server_id]),
        run_program=run_program,
        report_ends=report_ends,
        files=files,
    )
    try:
        sys.exit(server.serve())
    except InfluencerAIError as error:
        sys.exit(f"The fork server cannot start: {error}")


if __name__ == "__main__":
    main()
