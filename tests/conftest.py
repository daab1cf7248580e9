"""Four CPU devices, no fused multiply-add, strict types and ranks; before JAX's backend starts.

Most tests spend their time in XLA's compiler. So it optimises only where a test is marked `optimised`, its emitters are
the older ones, which take half the time, and what one test has compiled serves the later ones of this session and their
processes. JAX does not lock the folder for that, so one may read what another has half written: decompressing that
fails, and JAX warns (pyproject.toml ignores it) and compiles.
"""

import os
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers have the folder of the process that starts them, until it ends
    COMPILED = tempfile.TemporaryDirectory(prefix="al_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "2")  # scikit-learn warns where it cannot count them
os.environ.setdefault("NPROC", "2")  # for runs that are pinned to one core, see al_jax/engines/exact.py
from al_jax.engines import exact

exact.request()

import jax
import pytest

if jax.__version_info__ < (0, 11):  # later versions have the newer emitters only, and end at a flag they do not know
    # A program split for threads of the compiler is more work than a whole one.
    FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before fixtures, which compile too; the environment is for processes that a test starts."""
    optimised = item.get_closest_marker("optimised") is not None
    jax.config.update("jax_disable_most_optimizations", not optimised)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0" if optimised else "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Long tests come last, and no process shall wait for the other one's."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
