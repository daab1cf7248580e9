"""Bit-for-bit equality between engines: what the compiler must leave undone, on CPU in float32.

Two things that XLA does to an operation depend on the program around it. The algebraic simplifier rewrites batch norm
differently when a program has several partitions; it is switched off for each compilation. And fusion decides where a
multiply and an add become one fused multiply-add, which rounds once instead of twice; a compiler flag rules out such
instructions, but only for a whole process, before its backend starts.
"""

import os
import platform
import warnings

import jax

FLAG = "--xla_cpu_max_isa=AVX"  # the newest instruction set without fused multiply-add


def request() -> None:
    """Sets the environment that `exact` needs; call it before JAX's backend starts."""
    if _flag_applies() and not _flag_is_set():
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
    # Reductions depend on the size of the thread pool, and several host devices share one of at least two threads.
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1:
        os.environ.setdefault("NPROC", "2")


def compiler_options(exact: bool) -> dict[str, str] | None:
    """Options for `jax.jit`; warns where a CPU would not keep `exact`, which is not promised elsewhere."""
    if not exact:
        return None
    if jax.default_backend() == "cpu" and _flag_applies() and not _flag_is_set():
        warnings.warn(
            f"exact=True without XLA_FLAGS={FLAG}: fused multiply-adds may make engines differ in the last bit. "
            "Set it before JAX starts (al_jax.engines.exact.request()).",
            stacklevel=3,
        )
    return {"xla_disable_hlo_passes": "algsimp"}


def _flag_applies() -> bool:
    """Whether XLA has the flag for this processor: it has it for x86 only."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _flag_is_set() -> bool:
    """Whether the flag is set to AVX, or to SSE4.2, which has no fused multiply-add either."""
    return not {FLAG, FLAG.replace("AVX", "SSE4_2")}.isdisjoint(os.environ.get("XLA_FLAGS", "").split())
