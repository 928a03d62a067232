"""The guard of conftest.py keeps servers and programs out of unit tests."""

import socket
import subprocess

import pytest


def test_a_unit_test_cannot_start_a_program() -> None:
    with pytest.raises(pytest.fail.Exception, match="starts a program"):
        subprocess.run(["true"], check=True)


def test_a_unit_test_cannot_leave_this_machine() -> None:
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match="connects to"):
        client.connect(("192.0.2.1", 80))
