"""A stand-in for Slurm: sbatch, srun, squeue, scontrol and scancel in a folder that goes first on the PATH.

One process (`controller`) stands for the cluster, and runs array tasks one after the other as sbatch asks,
with the variables that Slurm sets. What it knows of each job lies in `jobs/<number>.json`; what a test or a
job asks of it lies in `asked/`. A requeue kills what is left of the job and runs it again, as Slurm does.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STATE = "STAND_IN_SLURM"
NODE = "node-1"
COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sacct")


class Slurm:
    """A test's handle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        for name in COMMANDS:
            path = self.bin / name
            words = f"{shlex.quote(sys.executable)} {shlex.quote(__file__)} {name}"
            path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            path.chmod(0o755)
        self.environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", STATE: str(root)}

    def jobs(self) -> dict[str, dict[str, Any]]:
        return read_jobs(self.root)

    def wait(self, *, until: str, seconds: float = 120.0) -> dict[str, dict[str, Any]]:
        """Until every job is in a state."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            jobs = self.jobs()
            if jobs and all(job["state"] == until for job in jobs.values()):
                return jobs
            time.sleep(0.1)
        raise TimeoutError(f"{self.jobs()}\n{self.output()}")

    def output(self) -> str:
        paths = sorted(self.root.parent.rglob("*_log.err"))
        return "\n".join(f"== {path}\n{path.read_text()}" for path in paths)

    def preempt(self, job: str, *, user_signal: bool) -> None:
        """SIGTERM to the job's step; then SIGUSR2, too, or Slurm's own kill and requeue after a while."""
        pid = self.jobs()[job]["step"]
        os.kill(pid, signal.SIGTERM)
        if user_signal:
            time.sleep(0.5)
            os.kill(pid, signal.SIGUSR2)
        else:
            time.sleep(4.0)
            ask(self.root, "requeue", job)

    def stop(self) -> None:
        """End the cluster, and what it runs."""
        for job in self.jobs():
            ask(self.root, "cancel", job)
        (self.root / "stop").touch()
        for pid in {job["controller"] for job in self.jobs().values()}:
            for _ in range(100):
                if not Path(f"/proc/{pid}").exists():
                    break
                time.sleep(0.1)


def read_jobs(root: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((root / "jobs").glob("*.json"))}


def write_job(root: Path, job: str, value: dict[str, Any]) -> None:
    path = root / "jobs" / f"{job}.json"
    path.parent.mkdir(exist_ok=True)
    temp = path.with_suffix(".new")
    temp.write_text(json.dumps(value))
    temp.rename(path)


def ask(root: Path, what: str, job: str) -> None:
    (root / "asked").mkdir(exist_ok=True)
    (root / "asked" / f"{what}-{job}").touch()


def asked(root: Path, what: str, job: str) -> bool:
    path = root / "asked" / f"{what}-{job}"
    if path.exists():
        path.unlink()
        return True
    return False


def sbatch(root: Path, script: str) -> int:
    if (root / "refuse").exists():
        sys.stderr.write("sbatch: error: Batch job submission failed: Invalid account or partition\n")
        return 1
    text = Path(script).read_text()
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))
    number = 1000 + len(list(root.glob("*.sh")))
    copy = root / f"{number}.sh"
    copy.write_text(text)
    array = re.fullmatch(r"'?0-(\d+)%(\d+)'?", flags.get("array", ""))
    names = [f"{number}_{index}" for index in range(int(array[1]) + 1)] if array else [str(number)]
    for name in names:
        write_job(root, name, {"state": "PENDING", "restarts": 0, "step": 0, "controller": 0, "flags": flags})
    subprocess.Popen(
        [sys.executable, __file__, "controller", str(copy), *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    sys.stdout.write(f"Submitted batch job {number}\n")
    return 0


def controller(root: Path, script: str, *names: str) -> int:
    for name in names:
        write_job(root, name, {**read_jobs(root)[name], "controller": os.getpid()})
    waiting = list(names)
    while waiting and not (root / "stop").exists():
        name = waiting.pop(0)
        if (root / "hold").exists():
            waiting.insert(0, name)
            time.sleep(0.1)
            if asked(root, "cancel", name):
                waiting.pop(0)
                write_job(root, name, {**read_jobs(root)[name], "state": "CANCELLED"})
            continue
        if run_job(root, script, name):
            waiting.insert(0, name)
    return 0


def run_job(root: Path, script: str, name: str) -> bool:
    """Whether it is to be run again."""
    job = read_jobs(root)[name]
    array, _, index = name.partition("_")
    variables = {
        "SLURM_JOB_ID": str(int(array) * 100 + int(index or 0)) if index else array,
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": NODE,
        "SLURM_JOB_NAME": "bench",
        "SLURM_RESTART_COUNT": str(job["restarts"]),
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "STAND_IN_JOB": name,
        **({"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index} if index else {}),
    }
    write_job(root, name, {**job, "state": "RUNNING", "step": 0})
    process = subprocess.Popen(["bash", script], env={**os.environ, **variables}, start_new_session=True)
    while process.poll() is None:
        requeue, cancel = asked(root, "requeue", name), asked(root, "cancel", name)
        if requeue or cancel:
            if cancel or not read_jobs(root)[name].get("leaving"):
                time.sleep(1.0)  # a job that asks for its own requeue leaves by itself
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            state = "PENDING" if requeue else "CANCELLED"
            write_job(root, name, {**job, "state": state, "restarts": job["restarts"] + 1})
            return requeue
        time.sleep(0.05)
    if asked(root, "requeue", name):
        write_job(root, name, {**job, "state": "PENDING", "restarts": job["restarts"] + 1})
        return True
    write_job(root, name, {**job, "state": "FAILED" if process.returncode else "COMPLETED"})
    return False


def srun(root: Path, *words: str) -> int:
    """Run the command as the one task of a step, its output where it is asked to go."""
    name, rest = os.environ["STAND_IN_JOB"], list(words)
    files = {}
    while rest and rest[0].startswith("--"):
        flag = rest.pop(0)
        if flag in ("--output", "--error"):
            array, _, index = name.partition("_")
            pairs = (("%A", array), ("%a", index), ("%j", name), ("%t", "0"))
            path = rest.pop(0)
            for short, text in pairs:
                path = path.replace(short, text)
            files[flag] = path
    os.environ.update(
        SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_STEP_ID="0", SLURM_SRUN_COMM_PORT="1"
    )
    for stream, flag in ((1, "--output"), (2, "--error")):
        os.dup2(os.open(files[flag], os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    write_job(root, name, {**read_jobs(root)[name], "step": os.getpid()})
    os.execvp(rest[0], rest)


def squeue(root: Path, *words: str) -> int:
    if (root / "deaf").exists():
        sys.stderr.write("slurm_load_jobs error: Unable to contact slurm controller\n")
        return 1
    if f"--user={getpass.getuser()}" in words:
        for name, job in read_jobs(root).items():
            if job["state"] in ("PENDING", "RUNNING"):
                sys.stdout.write(f"{name}|{job['state']}\n")
    return 0


def main(command: str, *words: str) -> int:
    root = Path(os.environ[STATE])
    if command == "sbatch":
        return sbatch(root, words[0])
    if command == "controller":
        return controller(root, *words)
    if command == "srun":
        return srun(root, *words)
    if command == "squeue":
        return squeue(root, *words)
    if command == "scontrol":
        ask(root, words[0], words[1])
        return 0
    if command == "scancel":
        ask(root, "cancel", words[0])
        return 0
    return 1  # no accounting here


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
