"""How fast are pairs of views made, beside other ways of making them? Run by hand.

    python -m tests.benchmarks.bench_input --source DIR --out DIR [--images 250] [--repeats 3]

Photographs of ImageNet's size and bits a pixel are made from the images in DIR. Every way takes JPEG bytes
from memory and makes two views of 224 px, on one thread; they take turns within each repeat, and the median
counts. Rates are printed as multiples of torchvision's transforms on Pillow images, of the MoCo v2 recipe.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from lightly.transforms.moco_transform import MoCoV2Transform
from PIL import Image, ImageFilter
from torch.nn import functional as F
from torchvision import transforms as T

from bench.core.paths import CONFIGS
from bench.core.safe_image import decode_image
from bench.images.pack import PackKind
from bench.images.randaugment import apply_operation, draw_randaugment
from bench.images.source import open_source
from bench.images.view_config import ViewConfig
from bench.images.write_pack import write_pack
from pretrain.modality import feed
from pretrain.plan import read_config
from pretrain.samples import Views
from tests.benchmarks.dali_pairs import dali_pairs
from tests.benchmarks.photos import make_photos

Way = Callable[[bytes, int], Any]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def config(name: str) -> Any:
    return read_config(CONFIGS / "pretrain" / f"{name}.toml")[1]


class PillowBlur:
    """MoCo v2's."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


class TapBlur:
    """PyContrast's: two convolutions of 23 taps on a tensor, from a picture and back."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        sigma = random.uniform(0.1, 2.0)
        offsets = np.arange(-11, 12)
        weights = np.exp(-(offsets**2) / (2 * sigma * sigma))
        taps = torch.from_numpy(weights / weights.sum()).float().view(1, 1, -1).repeat(3, 1, 1)
        values = F.pad(T.functional.to_tensor(picture)[None], (11, 11, 11, 11), mode="reflect")
        with torch.no_grad():
            values = F.conv2d(values, taps[..., None], groups=3)
            values = F.conv2d(values, taps[:, :, None], groups=3)
        return T.functional.to_pil_image(values[0])


class PillowRandAugment:
    """InfoMin's, with the operations of the reference renderer, which are Pillow's."""

    def __init__(self, view: ViewConfig) -> None:
        self.config, self.draw = view.randaugment, np.random.default_rng(0)

    def __call__(self, picture: Image.Image) -> Image.Image:
        assert self.config is not None
        for operation in draw_randaugment(self.config, self.draw):
            picture = apply_operation(picture, operation, self.config.fill)
        return picture


def on_pillow(transform: Callable[[Image.Image], Any]) -> Way:
    """Two views by a transform of pictures, each apart."""

    def make(data: bytes, _index: int) -> Any:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        return transform(picture), transform(picture)

    return make


def torchvision_moco() -> Callable[[Image.Image], Any]:
    return T.Compose(
        [
            T.RandomResizedCrop(224, scale=(0.2, 1.0)),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.RandomApply([PillowBlur()], p=0.5),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )


def pycontrast_infomin(view: ViewConfig) -> Callable[[Image.Image], Any]:
    assert view.jitter is not None
    jitter = T.ColorJitter(
        view.jitter.brightness, view.jitter.contrast, view.jitter.saturation, view.jitter.hue
    )
    return T.Compose(
        [
            T.RandomResizedCrop(224, scale=view.crop_area),
            T.RandomHorizontalFlip(),
            T.RandomApply([jitter], p=view.jitter.probability),
            T.RandomApply([TapBlur()], p=0.5),
            PillowRandAugment(view),
            T.RandomGrayscale(p=0.2),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )


def ours(name: str, way: Any, *, jigsaw: bool = False, floats: bool = False) -> Way:
    """Our own way, from bytes; `floats` brings the pixels to what a network is fed."""
    made = config(name)
    make = Views(made.views, made.jigsaw if jigsaw else None, 0, way)

    def pair(data: bytes, index: int) -> Any:
        sample = make(decode_image(data, "memory"), index, 0)
        if not floats:
            return sample
        return [
            feed(torch.from_numpy(view).movedim(-1, 0)[None], "rgb", torch.float32) for view in sample.views
        ]

    return pair


def packed(photos: Path, out: Path, kind: PackKind, long_side_px: int | None) -> Way:
    """Crops of images in a pack, read anew each time; its pages are in memory after the first time."""
    if not out.exists():
        write_pack(
            open_source(photos),
            out,
            kind=kind,
            long_side_px=long_side_px,
            quality=90 if kind == "jpeg" else None,
            shard_bytes=1024**3,
            num_workers=2,
            replace=False,
            progress=lambda _done: None,
        )
    images, make = open_source(out), Views(config("moco_v2_ep200").views, None, 0, "crops")
    return lambda _data, index: make(images.read(index), index, 0)


def ways(data: list[bytes], photos: Path, packs: Path) -> dict[str, Way]:
    infomin = config("infomin_ep200").view
    lightly, dali = MoCoV2Transform(gaussian_blur=0.5), dali_pairs(data)
    return {
        "torchvision v1 on Pillow, MoCo v2": on_pillow(torchvision_moco()),
        "lightly MoCoV2Transform": lambda one, _: lightly(Image.open(io.BytesIO(one)).convert("RGB")),
        **({"DALI on a CPU, MoCo v2 without gray": dali} if dali else {}),
        "PyContrast's InfoMin on Pillow": on_pillow(pycontrast_infomin(infomin)),
        "ours, MoCo v2, reference (pillow), uint8": ours("moco_v2_ep200", "pillow"),
        "ours, MoCo v2, batched, uint8": ours("moco_v2_ep200", "batched"),
        "ours, MoCo v2, batched, float32": ours("moco_v2_ep200", "batched", floats=True),
        "ours, InfoMin, reference (pillow), uint8": ours("infomin_ep200", "pillow"),
        "ours, InfoMin, batched, float32": ours("infomin_ep200", "batched", floats=True),
        "ours, MoCo v2, uint8 crops": ours("moco_v2_ep200", "crops"),
        "ours, InfoMin, uint8 crops": ours("infomin_ep200", "crops"),
        "ours, InfoMin with jigsaw, uint8 crops": ours("infomin_ep200", "crops", jigsaw=True),
        "ours, uint8 crops, pack of JPEGs, 400 px": packed(photos, packs / "jpeg400", "jpeg", 400),
        "ours, uint8 crops, decoded pack": packed(photos, packs / "raw", "decoded", None),
        "ours, uint8 crops, decoded pack, 400 px": packed(photos, packs / "raw400", "decoded", 400),
        "Pillow decodes": lambda one, _: Image.open(io.BytesIO(one)).convert("RGB"),
        "libjpeg-turbo decodes": lambda one, _: decode_image(one, "memory"),
    }


@click.command()
@click.option("--source", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="For photos and packs.")
@click.option("--images", type=int, default=250)
@click.option("--repeats", type=int, default=3)
@click.option("--only", default="", help="Ways with this in their name, and the first.")
def main(source: Path, out: Path, images: int, repeats: int, only: str) -> None:
    """Print milliseconds a pair, and the rate as a multiple of the first way's."""
    torch.set_num_threads(1)
    photos = out / f"photos-{images}"
    data = [path.read_bytes() for path in make_photos(source, photos, images)]
    first, *others = ways(data, photos, out / f"packs-{images}").items()
    compared = dict([first, *(way for way in others if only in way[0])])
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(repeats):
        for name, way in compared.items():
            torch.manual_seed(0), random.seed(0)
            started = time.perf_counter()
            for index, one in enumerate(data):
                way(one, index)
            seconds[name].append((time.perf_counter() - started) / len(data))
    base = seconds[first[0]]
    for name, values in seconds.items():
        ratios = [one / other for one, other in zip(base, values, strict=True)]
        click.echo(
            f"{name:42} {1000 * median(values):7.2f} ms  x{median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
