"""Public ResNet-50 checkpoints whose address and hash their authors publish: what `bench weights` knows.

To add one, add an entry with the file where both address and hash stand; without a hash there is no entry.

Nothing here was downloaded to be checked: a hash that is not that of the file is found when it is fetched,
and nothing is kept then. Three publishers write the first eight digits of the sha256 into the file name:
torch's hub (`filename-<sha256>.ext`, pytorch/pytorch torch/hub.py, load_state_dict_from_url), timm
(huggingface/pytorch-image-models clean_checkpoint.py) and OpenMMLab (open-mmlab/mmpretrain and mmselfsup,
tools/model_converters/publish_model.py), of whose older files some are known to have another hash
(open-mmlab/mmcv issue 600).

Looked at and left out, because the authors publish no hash (their files may be given to every command all the
same): MoCo v3, SimSiam, SwAV and DeepCluster v2, Barlow Twins, VICReg, DINO, PyContrast and InfoMin, PixPro,
DenseCL, VISSL, Detectron2's own R-50.pkl. And, because no layout of ours reads them: OpenMMLab's
classifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from bench.core.card import InputSpec
from bench.core.download import Digest


@dataclass(frozen=True)
class PublicWeights:
    """One checkpoint that can be downloaded.

    Attributes:
        name: What tables call it, `resnet50.<method>_<variant>`.
        url: Where its authors keep it; https.
        digest: What they publish of its hash.
        source: Repository and file where address and hash stand.
        licence: As its authors state it, "not stated" if they do not.
        layout: A name from `transfer.adapters.layouts.LAYOUTS`, None where no source shows it.
        encoder: The layout's label of the encoder that is taken, where the file has several.
        size_mib: MiB, if its authors say.
        input: What the stem was trained on, if it is not what the layout says.
        note: What a reader of a result should know; it goes on the card.
    """

    name: str
    url: str
    digest: Digest
    source: str
    licence: str
    layout: str | None = None
    encoder: str = ""
    size_mib: float | None = None
    input: InputSpec | None = None
    note: str = ""

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlsplit(self.url).path).name


def _named_by_sha256(name: str, url: str, source: str, licence: str, **more: object) -> PublicWeights:
    """An entry whose file name ends in the first eight digits of its sha256."""
    digits = PurePosixPath(urlsplit(url).path).stem.rpartition("-")[2]
    return PublicWeights(name, url, Digest("sha256", digits), source, licence, **more)  # type: ignore[arg-type]


def _torchvision() -> Iterator[PublicWeights]:
    folder = "https://download.pytorch.org/models/"
    source, licence = "pytorch/vision torchvision/models/resnet.py", "BSD-3-Clause"
    for name, file, size, note in (
        (
            "supervised_torchvision",
            "resnet50-0676ba61.pth",
            97.781,
            "ImageNet-1k, the first recipe",
        ),
        (
            "torchvision_v2",
            "resnet50-11ad3fa6.pth",
            97.79,
            "supervised, ImageNet-1k, the recipe of 2021",
        ),
    ):
        yield _named_by_sha256(
            f"resnet50.{name}",
            folder + file,
            source,
            licence,
            layout="torchvision",
            size_mib=size,
            note=note,
        )


def _msra() -> Iterator[PublicWeights]:
    # The input is that of open-mmlab/mmdetection configs/faster_rcnn/faster-rcnn_r50-caffe_fpn_1x_coco.py
    # (style "caffe" is the stride in the 1x1); Detectron2 feeds its own copy in the same way.
    yield _named_by_sha256(
        "resnet50.supervised_msra",
        "https://download.openmmlab.com/pretrain/third_party/resnet50_msra-5891d200.pth",
        "open-mmlab/mmcv mmcv/model_zoo/open_mmlab.json",
        "not stated",
        input=InputSpec(
            channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1"
        ),
        note="supervised, ImageNet-1k: OpenMMLab's copy of the MSRA weights that Detectron2 uses",
    )


def _moco() -> Iterator[PublicWeights]:
    folder = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/"
    for name, md5 in (("v1_200ep", "b251726a"), ("v2_200ep", "59fd9945"), ("v2_800ep", "a04e12f8")):
        yield PublicWeights(
            f"resnet50.moco_{name}",
            f"{folder}moco_{name}/moco_{name}_pretrain.pth.tar",
            Digest("md5", md5),
            "facebookresearch/moco README.md",
            "CC-BY-NC-4.0",
            layout="moco",
            encoder="query",
        )


def _openmmlab() -> Iterator[PublicWeights]:
    folder = "https://download.openmmlab.com/mmselfsup/1.x/"
    for name, method, run, ending in (
        (
            "barlowtwins_300ep",
            "barlowtwins",
            "barlowtwins_resnet50_8xb256-coslr-300e_in1k",
            "20220825-57307488",
        ),
        ("byol_200ep", "byol", "byol_resnet50_16xb256-coslr-200e_in1k", "20220825-de817331"),
        ("densecl_200ep", "densecl", "densecl_resnet50_8xb32-coslr-200e_in1k", "20220825-3078723b"),
        ("moco_v2_200ep", "mocov2", "mocov2_resnet50_8xb32-coslr-200e_in1k", "20220825-b6d23c86"),
        ("moco_v3_100ep", "mocov3", "mocov3_resnet50_8xb512-amp-coslr-100e_in1k", "20220927-f1144efa"),
        ("moco_v3_300ep", "mocov3", "mocov3_resnet50_8xb512-amp-coslr-300e_in1k", "20220927-1e4f3304"),
        ("moco_v3_800ep", "mocov3", "mocov3_resnet50_8xb512-amp-coslr-800e_in1k", "20220927-e043f51a"),
        ("simclr_200ep", "simclr", "simclr_resnet50_16xb256-coslr-200e_in1k", "20220825-4d9cce50"),
        ("simclr_800ep", "simclr", "simclr_resnet50_16xb256-coslr-800e_in1k", "20220825-85fcc4de"),
        ("simsiam_100ep", "simsiam", "simsiam_resnet50_8xb32-coslr-100e_in1k", "20220825-d07cb2e6"),
        ("simsiam_200ep", "simsiam", "simsiam_resnet50_8xb32-coslr-200e_in1k", "20220825-efe91299"),
        ("swav_200ep", "swav", "swav_resnet50_8xb32-mcrop-2-6-coslr-200e_in1k-224-96", "20220825-5b3fc7fc"),
    ):
        yield _named_by_sha256(
            f"resnet50.openmmlab_{name}",
            f"{folder}{method}/{run}/{run}_{ending}.pth",
            f"open-mmlab/mmpretrain configs/{method}/metafile.yml",
            "Apache-2.0",
            layout="mmselfsup",
            encoder="backbone",
            note="OpenMMLab's own run of the method, not its authors' checkpoint",
        )


def _timm() -> Iterator[PublicWeights]:
    releases = "huggingface/pytorch-image-models/releases/download/"
    # The first release stands there under its former owner, which leads to the same file.
    before = "rwightman/pytorch-image-models/releases/download/"
    for name, file in (
        ("a1", before + "v0.1-rsb-weights/resnet50_a1_0-14fe96d1.pth"),
        ("a1h", releases + "v0.1-rsb-weights/resnet50_a1h2_176-001a1197.pth"),
        ("a2", releases + "v0.1-rsb-weights/resnet50_a2_0-a2746f79.pth"),
        ("a3", releases + "v0.1-rsb-weights/resnet50_a3_0-59cae1ef.pth"),
        ("b1k", releases + "v0.1-rsb-weights/resnet50_b1k-532a802a.pth"),
        ("b2k", releases + "v0.1-rsb-weights/resnet50_b2k-1ba180c1.pth"),
        ("c1", releases + "v0.1-rsb-weights/resnet50_c1-5ba5e060.pth"),
        ("c2", releases + "v0.1-rsb-weights/resnet50_c2-d01e05b2.pth"),
        ("d", releases + "v0.1-rsb-weights/resnet50_d-f39db8af.pth"),
        ("am", releases + "v0.1-weights/resnet50_am-6c502b37.pth"),
        ("bt", releases + "v0.1-weights/rw_resnet50-86acaeed.pth"),
        ("ra", releases + "v0.1-weights/resnet50_ra-85ebb6e5.pth"),
        ("ram", releases + "v0.1-weights/resnet50_ram-a26f946b.pth"),
    ):
        yield _named_by_sha256(
            f"resnet50.timm_{name}",
            "https://github.com/" + file,
            "huggingface/pytorch-image-models timm/models/resnet.py",
            "Apache-2.0",
            layout="torchvision",
            note=f"supervised, ImageNet-1k: timm's resnet50.{name}_in1k",
        )


def _semi_supervised() -> Iterator[PublicWeights]:
    folder = "https://dl.fbaipublicfiles.com/semiweaksupervision/model_files/"
    for name, file, data in (
        ("ssl_yfcc100m", "semi_supervised_resnet50-08389792.pth", "YFCC100M"),
        ("swsl_ig1b", "semi_weakly_supervised_resnet50-16a12f1b.pth", "1B hashtagged images"),
    ):
        yield _named_by_sha256(
            f"resnet50.{name}",
            folder + file,
            "facebookresearch/semi-supervised-ImageNet1K-models hubconf.py",
            "CC-BY-NC-4.0",
            layout="torchvision",
            note=f"trained on {data}, then fine-tuned on the labels of ImageNet-1k",
        )


PUBLIC_WEIGHTS: tuple[PublicWeights, ...] = (
    *_torchvision(),
    *_msra(),
    *_moco(),
    *_openmmlab(),
    *_timm(),
    *_semi_supervised(),
)
