"""The online monitor: how well do the features tell the classes apart, by k-NN, while a method trains."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from bench.core import rng
from bench.core.log import say
from bench.core.signals import StopRequest
from bench.features.extract import centre_batches, extract
from bench.features.knn import accuracy, knn_predict
from bench.images.source import ImageSource
from pretrain.training import Progress, Training


@dataclass(frozen=True)
class KnnMonitor:
    """Asks before the first epoch, after every so many, and at the end.

    Attributes:
        training: The run.
        train, val: Images with equal classes; None for `val` means that there is nothing to ask.
        num_workers: Processes that read images.
        stop: Set when a signal has come; what was trained is saved then.
    """

    training: Training
    train: ImageSource
    val: ImageSource | None
    num_workers: int
    stop: StopRequest = field(default_factory=StopRequest)

    def __call__(self, state: Progress) -> dict[str, float]:
        """Numbers in percent after `state.step` updates, or none where it is not due."""
        config, order = self.training.config, self.training.order
        every, epoch = config.monitor.every_epochs, state.step // order.steps_per_epoch
        at_end = state.step == self.training.num_steps
        if self.val is None or every == 0 or (epoch % every and not at_end):
            return {}
        found = self.measure()
        if self.training.fabric.is_global_zero:
            text = ", ".join(f"{name} {value:.1f} %" for name, value in found.items())
            say(f"Epoch {epoch:,} of {config.epochs:,}: {text} on {len(self.val):,} held-out images")
        return found

    def measure(self) -> dict[str, float]:
        """k-NN accuracy, and that of the method's own classifier where it has one, in percent.

        The networks are left in evaluation mode; no statistic of the first process is changed, and the other
        processes take over its own: it is the one whose weights are written.

        Raises:
            DataError: an image cannot be read.
            Stopped: a signal came, and there is no other process.
        """
        if self.val is None or self.val.labels is None or self.train.labels is None:
            raise TypeError("the monitor needs classes")
        monitor, model = self.training.config.monitor, self.training.model
        model.eval()
        if self.training.fabric.world_size > 1:
            for statistic in model.backbone.buffers():
                dist.broadcast(statistic, src=0)
        voters = self._voters(len(self.train), monitor.max_train_images)
        device = self.training.fabric.device
        bank = self._features(self.train, voters)
        features = self._features(self.val, np.arange(len(self.val)))
        labels = torch.from_numpy(self.val.labels).to(device)
        predicted = knn_predict(
            features,
            bank,
            torch.from_numpy(self.train.labels[voters]).to(device),
            neighbours=monitor.neighbours,
            temperature=monitor.temperature,
            num_classes=len(self.train.classes or ()),
        )
        found = {"knn": accuracy(predicted, labels)}
        with torch.no_grad():
            scores = model.classify(features.to(next(model.parameters()).dtype))
        if scores is not None:
            found["val_top1"] = accuracy(scores.argmax(dim=1), labels)
        return found

    @staticmethod
    def _voters(num_images: int, most: int) -> npt.NDArray[np.int64]:
        # The same images in every run and at every time, whatever its seed.
        return np.sort(rng.permutation(0, 0, num_images)[:most])

    def _features(self, source: ImageSource, indices: npt.NDArray[np.int64]) -> Tensor:
        """[images, dim] in the order of `indices`; each process takes its share and all get the whole."""
        fabric, config, model = self.training.fabric, self.training.config, self.training.model
        rank, size = fabric.global_rank, fabric.world_size
        share = -(-len(indices) // size)
        mine = np.resize(indices[rank * share : (rank + 1) * share], share)  # the last one repeats some
        batches = centre_batches(
            source,
            mine,
            resize_px=config.monitor.resize_px,
            crop_px=config.monitor.crop_px,
            batch_size=config.monitor.batch_size,
            num_workers=self.num_workers,
        )

        def feed(images: Tensor) -> Tensor:
            # One of several processes that left alone would keep the others waiting.
            if size == 1:
                self.stop.check("what was trained is saved")
            return model.normalise(fabric.to_device(images))

        with fabric.autocast():
            features = extract(model.backbone, batches, feed)
        return model.world.gather(features)[: len(indices)]
