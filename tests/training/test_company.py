"""Leaving a run of several processes; with real ones in test_process_faults.py."""

import threading

from al_jax.training import company


def test_a_process_that_gives_up_leaves_although_the_first_does_not_answer(monkeypatch):
    ended, answered = threading.Event(), []
    monkeypatch.setattr(company, "PATIENCE", 0.05)
    monkeypatch.setattr(company, "_exit", lambda status: ended.set())
    monkeypatch.setattr(company.distributed, "size", lambda: 2)
    monkeypatch.setattr(company.distributed, "first", lambda: False)
    # It would wait for ever.
    monkeypatch.setattr(company.distributed, "tell", lambda *told: answered.append(not ended.wait(20)))
    company.give_up("error: something")
    assert answered == [False]
