"""Which of the user's jobs Slurm still has."""

from __future__ import annotations

import getpass
import shutil
import subprocess

from bench.core.errors import EngineError

_SECONDS = 60


def has_slurm() -> bool:
    """Whether Slurm's commands are here, as on a login node."""
    return all(shutil.which(name) for name in ("sbatch", "srun", "squeue"))


def queued_jobs() -> dict[str, str]:
    """Job number to state of all that wait, run or are about to run again; an array has a number each.

    Raises:
        EngineError: there is no Slurm here, or it does not answer.
    """
    if not has_slurm():
        raise EngineError(
            "no sbatch, srun and squeue on the PATH; run this on a login node of a Slurm cluster"
        )
    command = ["squeue", "--noheader", "--array", "--format=%i|%T", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"squeue does not answer within {_SECONDS} s; try again later") from None
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise EngineError(f"squeue: {reason}. What is in the queue is not known, so nothing was submitted")
    pairs = (line.strip().partition("|") for line in done.stdout.splitlines())
    return {job: state for job, sign, state in pairs if sign}
