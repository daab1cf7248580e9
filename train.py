"""Trains a network without end-to-end backpropagation.

    python train.py [--config=configs/X.py[:VARIANT]] [--config.FIELD=VALUE ...] [--workdir=DIR]

The same command with the same --workdir continues a run that was stopped. Fields: al_jax/training/config.py.
"""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from al_jax.data import DataError
from al_jax.engines import exact
from al_jax.training import command_line
from al_jax.training.errors import RunError

DEFAULT_CONFIG = Path(__file__).resolve().parent / "configs" / "digits.py"


def main(argv):
    del argv
    logging.set_verbosity(logging.WARNING)
    config = flags.FLAGS.config

    # ---- The process, before JAX's backend starts.
    import jax

    jax.config.update("jax_num_cpu_devices", max(config.devices, 1))
    if config.exact:
        exact.request()

    # ---- The run.
    from al_jax.training import load, loop, run, summary
    from al_jax.training.console import print_summary

    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = Path(flags.FLAGS.workdir).expanduser() if flags.FLAGS.workdir else None
    if config.evaluate:
        this = load.load_run(workdir or Path(), config.data_dir)
        finished = load.finished(this)
    else:
        with command_line.StopRequest() as stop:
            this = run.set_up(config, workdir or Path())
            workdir = workdir or run.new_workdir(Path("runs"), name)
            this = this._replace(workdir=workdir)
            print(f"{config.rule} on {config.dataset}, {config.engine} engine, files in {workdir}", flush=True)
            with run.claimed(config, workdir):
                try:
                    finished = loop.Training(this, stop).finish()
                except loop.Stopped as stopped:
                    print(f"{stopped}; the same command with --workdir={workdir} continues.", flush=True)
                    sys.exit(128 + (stop.signal or 0))

    # ---- What it reached.
    reached = summary.summarise(this, finished)
    if not config.evaluate:  # what the run left says where and how fast it was trained
        summary.leave(this, reached)
    print_summary(reached, this.workdir)


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=command_line.parser(DEFAULT_CONFIG))
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: a file cannot be read or written ({error}): mend that, then run the same command again")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command with the same --workdir continues from the last checkpoint")
