"""One job through torchvision's ResNet-50: a probe, fine-tuning, or a classifier on features."""

from __future__ import annotations

from transfer.api import Estimate, Job, Output
from transfer.engines.torchvision.estimate import estimate
from transfer.engines.torchvision.fit import run_on_features
from transfer.engines.torchvision.train import build_parts
from transfer.engines.trial import in_processes, one_device, run_trial
from transfer.protocols.classification import FeatureProtocol


def estimate_job(job: Job) -> Estimate:
    """Memory, time and disk of one trial.

    Raises:
        EngineError: what is timed is too much for this device.
    """
    with one_device(job) as fabric:
        return estimate(job, fabric)


def run_job(job: Job) -> Output:
    """Train and test one trial. Raises as `run_trial`."""
    if isinstance(job.protocol, FeatureProtocol):
        return in_processes(job, run_on_features)
    return run_trial(job, build_parts)
