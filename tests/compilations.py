"""What JAX traces and compiles while a test does something."""

import contextlib

import jax

LISTENING = []  # lists of names; JAX 0.7 cannot unregister a listener, so one stays and writes to these


def note(event, duration, **details):
    if event.startswith("/jax/core/compile"):
        for names in LISTENING:
            names.append((event, details.get("fun_name")))


jax.monitoring.register_event_duration_secs_listener(note)


@contextlib.contextmanager
def compilations():
    """Collects what is traced or compiled meanwhile."""
    LISTENING.append([])
    try:
        yield LISTENING[-1]
    finally:
        LISTENING.pop()
