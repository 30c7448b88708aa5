"""Files in the names of a library, whoever trained what is in them."""

from __future__ import annotations

from bench.core.card import InputSpec
from transfer.adapters.layout import Layout, place

MSRA_INPUT = InputSpec(
    channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1"
)
"""Source: facebookresearch/detectron2 detectron2/config/defaults.py: PIXEL_MEAN, PIXEL_STD, STRIDE_IN_1X1."""

FORMATS: tuple[Layout, ...] = (
    Layout(
        name="torchvision",
        source="pytorch/vision torchvision/models/resnet.py",
        places=(place("", ""),),
        drop=("fc.*",),
        also=(
            "Barlow Twins (release)",  # facebookresearch/barlowtwins hubconf.py, evaluate.py: all but fc
            "VICReg (release)",  # facebookresearch/vicreg hubconf.py: strict load into a ResNet without fc
            "DINO (release)",  # facebookresearch/dino hubconf.py
            "LEWEL (extracted)",  # LayneH/LEWEL utils/extract_backbone.py
        ),
    ),
    Layout(
        name="plain",
        source="huggingface/pytorch-image-models timm/models/_helpers.py, load_state_dict, clean_state_dict",
        places=(
            place("state_dict", ""),
            place("model", ""),
            place("", "module."),
            place("state_dict", "module."),
            place("model", "module."),
            place("", "_orig_mod."),
            place("state_dict", "_orig_mod."),
            place("", "_orig_mod.module."),  # compiled, then DataParallel inside
            place("state_dict", "_orig_mod.module."),
            place("", "module._orig_mod."),
            place("state_dict", "module._orig_mod."),
        ),
        drop=(
            "fc.*",
            "module.fc.*",
            "_orig_mod.fc.*",
            "_orig_mod.module.fc.*",
            "module._orig_mod.fc.*",
        ),
        also=(
            "SlotCon (backbone only)",  # CVMI-Lab/SlotCon transfer/segmentation/convert_pretrain_to_mm.py
            "DetCo (.pth)",  # xieenze/DetCo benchmarks/detection/README.md
        ),
    ),
    Layout(
        # The library's own loader takes the average if there is one (use_ema=True by default).
        name="timm-ema",
        source="huggingface/pytorch-image-models timm/models/_helpers.py, timm/utils/checkpoint_saver.py",
        places=(place("state_dict_ema", ""),),
        label="ema",
        others=(("model", place("state_dict", "")),),
        signs=("state_dict_ema",),
        drop=("fc.*",),
        notes=("the average (state_dict_ema) was taken, as timm's load_checkpoint does by default",),
    ),
    Layout(
        name="detectron2-msra",
        source=(
            "facebookresearch/detectron2 detectron2/checkpoint/c2_model_loading.py, "
            "detection_checkpoint.py, issues 1698 and 5412"
        ),
        places=(place("", "", "caffe2"),),
        drop=(
            "conv1_b",  # D2 logs stem.conv1.bias as unused: deeplearning-wisc/vos issue 44
            "fc1000_w",
            "fc1000_b",
            "*_momentum",  # detection_checkpoint.py leaves them out of every Caffe2 file
        ),
        input=MSRA_INPUT,
        notes=("stride in the first 1x1 of a stage, BGR, no division by the standard deviation",),
    ),
    # Files of Detectron2's converters: plain pickles, or a torch file with numpy arrays (ReSim).
    Layout(
        name="detectron2",
        source=(
            "facebookresearch/detectron2 tools/convert-torchvision-to-d2.py; "
            "facebookresearch/moco detection/convert-pretrain-to-detectron2.py; "
            "HobbitLong/PyContrast pycontrast/detection/convert_pretrained.py; "
            "zdaxie/PixPro transfer/detection/convert_pretrain_to_d2.py; "
            "CVMI-Lab/SlotCon transfer/detection/convert_pretrain_to_d2.py; "
            "hologerry/SoCo converter_detectron2/convert_detectron2_C4.py; "
            "open-mmlab/mmselfsup benchmarks/detection/convert-pretrain-to-detectron2.py"
        ),
        places=(place("model", "", "detectron2"),),
        signs=("__author__", "matching_heuristics"),
        drop=("stem.fc.*",),
        also=("MoCo", "PyContrast", "PixPro", "SlotCon", "SoCo-C4", "OpenSelfSup", "DetCo (.pkl)"),
        notes=("taken for RGB weights with the stride in the 3x3, as its converters are for",),
    ),
    Layout(
        name="huggingface",
        source="huggingface/transformers src/transformers/models/resnet/modeling_resnet.py, "
        "configuration_resnet.py, convert_resnet_to_pytorch.py",
        places=(place("", "resnet.", "huggingface"), place("", "", "huggingface")),
        drop=("classifier.1.weight", "classifier.1.bias"),
        notes=("stride in the 3x3 unless config.json has downsample_in_bottleneck: the weights do not say",),
    ),
)
