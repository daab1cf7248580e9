"""Trains a network without end-to-end backpropagation.

    python train.py [--config=configs/X.py[:VARIANT]] [--config.FIELD=VALUE ...] [--workdir=DIR]

The same command with the same --workdir continues a run that was stopped. Fields: al_jax/training/config.py.
Several processes train one network together: python -m al_jax.launch, or SLURM with --config.coordinator=auto.
"""

import signal
from pathlib import Path

# Until there is something to save Ctrl-C ends the program at once: what is imported or waits in C++ may swallow it.
if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from absl import app, flags, logging
from ml_collections import config_flags

from al_jax.data import DataError
from al_jax.engines import distributed, exact
from al_jax.training import command_line, company, joining
from al_jax.training.errors import ConfigError, RunError

DEFAULT_CONFIG = Path(__file__).resolve().parent / "configs" / "digits.py"


def main(argv):
    del argv
    logging.set_verbosity(logging.WARNING)
    config = flags.FLAGS.config

    # ---- The process, before JAX's backend starts.
    if config.exact:
        exact.request()
    joining.join(config)

    # ---- The run.
    from al_jax.training import load, loop, run, summary
    from al_jax.training.console import print_summary
    from al_jax.training.workdir import claimed, new_workdir

    workdir = Path(flags.FLAGS.workdir).expanduser() if flags.FLAGS.workdir else None
    if config.evaluate:
        if not workdir:
            raise ConfigError("config.evaluate is true, but there is no --workdir: give that of a finished run")
        asked, chosen = command_line.given_fields(), command_line.chosen_config()
        this = load.load_run(workdir, config.data_dir, asked, chosen)
        print_summary(summary.summarise(this, load.finished(this)), this.workdir)
        return
    name, status = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem, 0
    limits = config.start_timeout + config.step_timeout, config.step_timeout
    with command_line.stop_request() as stop, company.Watch(*limits) as watch:
        joining.agree(config)
        this = run.set_up(config, workdir or Path())
        workdir = distributed.on_first(lambda: workdir or new_workdir(Path("runs"), name))
        company.say(f"{config.rule} on {config.dataset}, {config.engine} engine, files in {workdir}")
        with claimed(config, workdir) as folder:
            this = this._replace(workdir=folder)
            try:
                finished = loop.Training(this, stop, watch.alive).finish()
            except loop.Stopped as stopped:
                company.say(f"{stopped}; the same command with --workdir={workdir} continues.")
                status = 128 + stopped.signal
            else:
                # ---- What it reached.
                reached = summary.summarise(this, finished, watch.alive)
                if distributed.first():
                    summary.write_summary(this, reached)
                    print_summary(reached, workdir)
        company.leave(status)


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=command_line.parser(DEFAULT_CONFIG))
    except (RunError, DataError) as error:
        company.give_up(f"error: {error}")
    except OSError as error:
        company.give_up(
            f"error: a file cannot be read or written ({error}): mend that, then run the same command again"
        )
    except KeyboardInterrupt:
        company.give_up("interrupted; the same command with the same --workdir continues from the last checkpoint")
    except Exception as error:
        company.fail(error)
