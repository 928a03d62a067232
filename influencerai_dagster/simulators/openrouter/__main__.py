"""Run a simulated OpenRouter; its faults can also be changed over POST /simulator/faults."""

import argparse

from aiohttp import web

from influencerai_dagster.simulators.openrouter.server import AnswerFaults, make_app


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="openrouter-simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8189)
    parser.add_argument("--delay-seconds", type=float, default=0.2)
    parser.add_argument("--fail-status", type=int, default=0, metavar="STATUS")
    parser.add_argument("--fail-count", type=int, default=0, metavar="N", help="how many calls")
    parser.add_argument("--api-key", default="", help="the only key that is taken; any by default")
    arguments = parser.parse_args()
    faults = AnswerFaults(
        status=arguments.fail_status,
        count=arguments.fail_count,
        delay_seconds=arguments.delay_seconds,
        api_key=arguments.api_key,
    )
    app = make_app(faults)
    web.run_app(app, host=arguments.host, port=arguments.port, print=None, shutdown_timeout=0.5)


if __name__ == "__main__":
    main()
