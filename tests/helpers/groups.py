"""Processes of commands that tests start: their groups, and an environment of theirs."""

from __future__ import annotations

import os
import time


def all_gone(group: int) -> bool:
    """Whether nothing of a process group is left, soon after its leader ended."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


ONE_TASK_OF_SLURM = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "n1",
}
"""What a command sees that srun started once; the processes that it starts itself are no tasks."""
