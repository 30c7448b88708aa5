"""Files of methods that learn from whole images, as their authors' own code writes them."""

from __future__ import annotations

from bench.core.card import InputSpec
from transfer.adapters.layout import Layout, place

SIMCLR_INPUT = InputSpec(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
"""Pixels of 0 to 1, no mean, no std.

Strided convolutions are padded evenly, as PyTorch does; the max-pool alone is SAME, and the converters' own
evaluations, 68.9 top-1 where the authors have 69.1, pad it as PyTorch.

Source: google-research/simclr resnet.py (fixed_padding, max_pooling2d), data_util.py (preprocess_image);
tonylins/simclr-converter eval.py, README.md; Separius/SimCLRv2-Pytorch verify.py.
"""

SIMCLR_NOTE = "trained with a max-pool of TensorFlow's SAME padding; the converter evaluates with PyTorch's"

BYOL_INPUT = InputSpec(padding="tf_same")
"""SAME in the stem, the max-pool and each 3x3 of stride 2; the stride is in the 3x3.

Source: google-deepmind/deepmind-research byol/utils/networks.py, byol/utils/dataset.py (normalize_images);
google-deepmind/dm-haiku haiku/_src/nets/resnet.py.
"""

IMAGE_METHODS: tuple[Layout, ...] = (
    Layout(
        name="pycontrast",
        source=(
            "HobbitLong/PyContrast pycontrast/learning/contrast_trainer.py, networks/build_backbone.py, "
            "networks/util.py, detection/convert_pretrained.py"
        ),
        places=(place("model", "module.encoder."),),
        label="query",
        others=(("ema", place("model_ema", "encoder.")),),
        signs=("model:module.head.0.weight",),
        drop=("module.head.*", "module.head_jig.*", "head.*", "head_jig.*"),
    ),
    Layout(
        name="cmc-instdis-moco",
        source="HobbitLong/CMC models/resnet.py, InsResNet50, train_moco_ins.py, eval_moco_ins.py",
        places=(place("model", "encoder.module."),),
        label="query",
        others=(("ema", place("model_ema", "encoder.module.")),),
        signs=("model:encoder.module.fc.weight",),
        drop=("encoder.module.fc.*",),
    ),
    Layout(
        name="moco",
        source=(
            "facebookresearch/moco moco/builder.py, main_moco.py, "
            "detection/convert-pretrain-to-detectron2.py; "
            "salesforce/PCL pcl/builder.py, main_pcl.py"
        ),
        places=(place("state_dict", "module.encoder_q."),),
        label="query",
        others=(("key", place("state_dict", "module.encoder_k.")),),
        drop=("module.encoder_q.fc.*", "module.encoder_k.fc.*", "module.queue", "module.queue_ptr"),
        also=("PCL",),
    ),
    Layout(
        name="moco-v3",
        source="facebookresearch/moco-v3 moco/builder.py, main_moco.py",
        places=(place("state_dict", "module.base_encoder."),),
        label="base",
        others=(("momentum", place("state_dict", "module.momentum_encoder.")),),
        drop=("module.base_encoder.fc.*", "module.momentum_encoder.fc.*", "module.predictor.*"),
    ),
    Layout(
        name="adco",
        source="maple-research-lab/AdCo model/AdCo.py, training/main_worker.py",
        places=(place("state_dict", "module.encoder_q."),),
        label="query",
        others=(("key", place("state_dict", "module.encoder_k.")),),
        signs=("Memory_Bank",),
        drop=("module.encoder_q.fc.*", "module.encoder_k.fc.*"),
    ),
    Layout(
        name="hcsc",
        source="hirl-team/HCSC hcsc/hcsc.py, pretrain.py",
        places=(place("state_dict", "module.encoder_q."),),
        label="query",
        others=(("key", place("state_dict", "module.encoder_k.")),),
        signs=("state_dict:module.queue_index",),
        drop=(
            "module.encoder_q.fc.*",
            "module.encoder_k.fc.*",
            "module.queue",
            "module.queue_ptr",
            "module.queue_index",
        ),
    ),
    Layout(
        # Its converter says `pass` where the others say `continue`: key encoder and queue stay in the file.
        name="hcsc-detectron2",
        source="hirl-team/HCSC detection/convert-pretrain-to-detectron2.py",
        places=(place("model", "", "detectron2"),),
        label="query",
        others=(("key", place("model", "module.encoder_k.", "detectron2")),),  # without its stem
        signs=("__author__", "matching_heuristics", "model:stem.module.queue_index"),
        drop=(
            "stem.fc.*",
            "stem.module.queue",
            "stem.module.queue_ptr",
            "stem.module.queue_index",
            "stem.module.encoder_k.*",
        ),
    ),
    Layout(
        name="simsiam",
        source="facebookresearch/simsiam simsiam/builder.py, main_simsiam.py",
        places=(place("state_dict", "module.encoder."),),
        drop=("module.encoder.fc.*", "module.predictor.*"),
    ),
    Layout(
        name="swav",
        source="facebookresearch/swav src/resnet50.py, main_swav.py, main_deepclusterv2.py, eval_linear.py",
        places=(place("state_dict", "module."),),
        signs=("state_dict:module.projection_head.*",),
        drop=("module.projection_head.*", "module.prototypes.*"),
        also=("DeepCluster v2", "SeLa v2"),
        notes=("trained with 0.228 as red's standard deviation, not 0.229 (src/multicropdataset.py)",),
    ),
    Layout(
        name="swav-release",
        source="facebookresearch/swav hubconf.py, src/resnet50.py",
        places=(place("", "module."),),
        signs=("module.projection_head.*",),
        drop=("module.projection_head.*", "module.prototypes.*"),
        also=("DeepCluster v2", "SeLa v2"),
        notes=("trained with 0.228 as red's standard deviation, not 0.229 (src/multicropdataset.py)",),
    ),
    Layout(
        name="barlow-twins",
        source="facebookresearch/barlowtwins main.py",
        places=(place("model", "module.backbone."),),
        signs=("model:module.bn.running_mean",),
        drop=("module.projector.*", "module.bn.*"),
    ),
    Layout(
        name="vicreg",
        source="facebookresearch/vicreg main_vicreg.py, resnet.py, evaluate.py",
        places=(place("model", "module.backbone."),),
        signs=("model:module.projector.0.bias",),
        drop=("module.projector.*",),
    ),
    Layout(
        name="dino",
        source="facebookresearch/dino main_dino.py, utils.py, vision_transformer.py",
        places=(place("teacher", "module.backbone."),),
        label="teacher",
        others=(("student", place("student", "module.backbone.")),),
        drop=("module.head.*",),
    ),
    Layout(
        name="obow",
        source="valeoai/obow obow/builder_obow.py, obow/feature_extractor.py, obow/solver.py, main_obow.py",
        places=(place("network", "module.feature_extractor._feature_blocks.", "obow"),),
        label="student",
        others=(("teacher", place("network", "module.feature_extractor_teacher._feature_blocks.", "obow")),),
        drop=(
            "module.bow_predictor.*",
            "module.bow_extractor.bow_extractor.*",
            "module.linear_classifier.layers.*",
            "module._alpha",
            "module._iteration",
        ),
    ),
    Layout(
        # Trained on one GPU without DistributedDataParallel.
        name="obow-single",
        source="valeoai/obow main_obow.py, setup_model_distributed_data_parallel; obow/solver.py",
        places=(place("network", "feature_extractor._feature_blocks.", "obow"),),
        label="student",
        others=(("teacher", place("network", "feature_extractor_teacher._feature_blocks.", "obow")),),
        drop=(
            "bow_predictor.*",
            "bow_extractor.bow_extractor.*",
            "linear_classifier.layers.*",
            "_alpha",
            "_iteration",
        ),
    ),
    Layout(
        name="obow-student",
        source="valeoai/obow obow/builder_obow.py, save_feature_extractor",
        places=(place("network", "_feature_blocks.", "obow"),),
        label="student",
        notes=("fine-tuning with labels writes the same keys (obow/classification.py): the file cannot say",),
    ),
    Layout(
        # fc holds the visual words: its size is the vocabulary's.
        name="obow-torchvision",
        source="valeoai/obow obow/builder_obow.py, save_feature_extractor_in_torchvision_format",
        places=(place("network", ""),),
        label="student",
        drop=("fc.*",),
    ),
    Layout(
        # The counters, which no Caffe2 has, tell a torch-born file from Detectron 1's.
        name="obow-caffe2",
        source="valeoai/obow utils/convert_pytorch_to_caffe2.py",
        places=(place("blobs", "", "caffe2-blobs"),),
        signs=("blobs:res_conv1_bn_num_batches_tracked",),
        input=None,  # --rgb2bgr turns the stem to BGR and leaves no trace
    ),
    Layout(
        name="simclr-converter",
        source="tonylins/simclr-converter convert.py, eval.py, README.md",
        places=(place("state_dict", ""),),
        # The converter's blocks make `downsample` first, torchvision's last: the only trace of where the file
        # comes from. A file that was written again in another order has lost it.
        order=(
            "conv1.weight",
            "layer1.0.downsample.0.weight",
            "layer1.0.conv1.weight",
            "layer4.0.downsample.0.weight",
            "layer4.0.conv1.weight",
        ),
        drop=("fc.weight", "fc.bias"),
        input=SIMCLR_INPUT,
        notes=(SIMCLR_NOTE, "fc is a supervised probe"),
    ),
    Layout(
        name="simclr2-converter",
        source="Separius/SimCLRv2-Pytorch convert.py, verify.py, resnet.py",
        places=(place("resnet", "", "simclr2"),),
        drop=("fc.weight", "fc.bias"),
        input=SIMCLR_INPUT,
        notes=(SIMCLR_NOTE, "only the file's name says whether these are the EMA weights (_ema)"),
    ),
    Layout(
        name="byol-deepmind",
        source="google-deepmind/deepmind-research byol/byol_experiment.py, byol/eval_experiment.py "
        "(takes online_params and online_state), byol/utils/{networks,checkpointing,dataset}.py; "
        "google-deepmind/dm-haiku haiku/_src/nets/resnet.py, batch_norm.py, moving_averages.py; "
        "ajtejankar/byol-convert convert.py",
        places=(place("experiment_state", "online.", "haiku"),),
        label="online",
        others=(("target", place("experiment_state", "target.", "haiku")),),
        drop=tuple(
            f"{side}.{rest}"
            for side in ("online", "target")
            for rest in (
                "params/projector/*",
                "params/predictor/*",
                "params/classifier/*",
                "state/projector/*",
                "state/predictor/*",
                "state/res_net50/*/hidden",
                "state/res_net50/*/counter",
            )
        ),
        input=BYOL_INPUT,
    ),
    Layout(
        name="spark",
        source="keyu-tian/SparK pretrain/{spark,encoder,decoder,main}.py, pretrain/utils/misc.py, "
        "pretrain/models/__init__.py (num_classes=0)",
        places=(place("module", "sparse_encoder.sp_cnn."),),
        signs=("is_pretrain", "module:mask_tokens.0"),
        drop=(
            "dense_decoder.dec.*",
            "dense_decoder.proj.*",
            "densify_norms.*",
            "densify_projs.*",
            "mask_tokens.*",
            "imn_m",
            "imn_s",
            "norm_black",
            "config",
        ),
    ),
)
