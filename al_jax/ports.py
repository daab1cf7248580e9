"""TCP ports at which processes of this host meet."""

import socket


def free_port() -> int:
    """A port of the loopback interface that is free for whoever is told of it, as long as this process lives.

    Until somebody listens there, seconds after it was asked for, the system would give it to any other who asks.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others with this option may listen there
    keeper.bind(("127.0.0.1", 0))
    port = keeper.getsockname()[1]
    keeper.detach()  # it stays open until this process ends
    return port
