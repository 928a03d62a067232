"""Read the requests of several clients at once, so that a frozen one does not block the others."""

import socket
import time
from dataclasses import dataclass, field

from influencerai_dagster.orchestration.run_launcher.protocol import MAX_LINE_BYTES, Reply

CLIENT_SECONDS = 10.0
"""How long a client may take to send its request."""
_READ_BYTES = 65_536


@dataclass(eq=False)
class Connection:
    """A client that has connected."""

    socket: socket.socket
    deadline: float = field(default_factory=lambda: time.monotonic() + CLIENT_SECONDS)
    _received: bytearray = field(default_factory=bytearray)

    def read_line(self) -> bytes | None:
        """Read what has arrived.

        Returns:
            The request, b"" if the client sends none, or None if it is not complete yet.
        """
        try:
            received = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        self._received += received
        line, newline, _ = bytes(self._received).partition(b"\n")
        if newline:
            return line
        return None if received and len(self._received) <= MAX_LINE_BYTES else b""

    def answer(self, reply: Reply) -> None:
        """Send the reply and close; a client that does not read it gets none."""
        try:
            self.socket.send(reply.encoded())  # a few hundred bytes: they fit into its buffer
        except OSError:
            pass
        finally:
            self.socket.close()
