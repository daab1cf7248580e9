"""Runs: from a configuration to a workdir with checkpoints, metrics, plots and a summary."""
