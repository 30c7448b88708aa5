"""Files of methods that learn from regions and pixels, as their authors' own code writes them."""

from __future__ import annotations

from transfer.adapters.layout import Layout, place

_FPN_IN_DETECTRON2 = ("fpn_lateral[2345].*", "fpn_output[2345].*")

DENSE_METHODS: tuple[Layout, ...] = (
    Layout(
        # fc is always the two-layer one; the pyramid has levels 5, 4, 3 and no output at level 5, and
        # children 0 and 1 where it was trained with norms (--fpn-bn).
        name="resim",
        source="Tete-Xiao/ReSim moco/builder.py, moco/models.py, main_moco.py",
        places=(place("state_dict", "module.encoder_q."),),
        label="query",
        others=(("key", place("state_dict", "module.encoder_k.")),),
        signs=("state_dict:module.encoder_q.fpn_lateral3.*",),
        drop=(
            "module.encoder_[qk].fc.*",
            "module.encoder_[qk].fpn_lateral[345].*",
            "module.encoder_[qk].fpn_output[34].*",
            "module.queue",
            "module.queue_ptr",
        ),
    ),
    Layout(
        name="resim-detectron2",
        source="Tete-Xiao/ReSim detection/convert-pretrain-to-detectron2.py, README.md",
        places=(place("model", "", "detectron2"),),
        signs=("__author__", "matching_heuristics", "model:backbone.fpn_lateral3.*"),
        drop=("stem.fc.*", "backbone.fpn_lateral[345].*", "backbone.fpn_output[34].*"),
    ),
    Layout(
        name="pixpro",
        source="zdaxie/PixPro contrast/models/PixPro.py, contrast/resnet.py, main_pretrain.py",
        places=(place("model", "module.encoder."),),
        label="online",
        others=(("momentum", place("model", "module.encoder_k.")),),
        signs=("model:module.projector_k.linear1.weight",),
        drop=(
            "module.projector.*",
            "module.projector_k.*",
            "module.value_transform.*",
            "module.projector_instance.*",
            "module.projector_instance_k.*",
            "module.predictor.*",
        ),
    ),
    Layout(
        name="soco-c4",
        source="hologerry/SoCo contrast/models/SoCo_C4.py, contrast/models/mlps.py, main_pretrain.py",
        places=(place("model", "module.encoder."),),
        label="online",
        others=(("momentum", place("model", "module.encoder_k.")),),
        signs=("model:module.projector_k.linear1.weight", "model:module.queue"),
        drop=(
            "module.projector.*",
            "module.projector_k.*",
            "module.predictor.*",
            "module.queue",
            "module.queue_ptr",
        ),
    ),
    Layout(
        # The box head's conv1 to conv4 and bn1 to bn4 stand behind `module.head.` and look like a stem.
        name="soco-fpn",
        source=(
            "hologerry/SoCo contrast/models/SoCo_FPN.py, SoCo_FPN_Star.py, fpn.py, "
            "fast_rcnn_conv_fc_head.py, main_pretrain.py"
        ),
        places=(place("model", "module.encoder."),),
        label="online",
        others=(("momentum", place("model", "module.encoder_k.")),),
        signs=("model:module.projector_k.linear1.weight", "model:module.neck.lateral_convs.0.conv.weight"),
        drop=(
            "module.neck.*",
            "module.neck_k.*",
            "module.head.*",
            "module.head_k.*",
            "module.projector.*",
            "module.projector_k.*",
            "module.predictor.*",
        ),
    ),
    Layout(
        name="soco-detectron2",
        source="hologerry/SoCo converter_detectron2/convert_detectron2_Head.py",
        places=(place("model", "", "detectron2"),),
        signs=("__author__", "matching_heuristics", "model:box_head.conv1.weight"),
        drop=(*_FPN_IN_DETECTRON2, "box_head.*"),
    ),
    Layout(
        name="soco-mmdetection",
        source="hologerry/SoCo converter_mmdetection/convert_mmdetection_Head.py",
        places=(place("state_dict", "backbone."),),
        signs=("meta", "state_dict:roi_head.bbox_head.shared_convs.0.conv.weight"),
        drop=(
            "neck.lateral_convs.*",
            "neck.fpn_convs.*",
            "roi_head.bbox_head.shared_convs.*",
            "roi_head.bbox_head.shared_fcs.*",
        ),
    ),
    Layout(
        name="slotcon",
        source="CVMI-Lab/SlotCon models/slotcon.py, main_pretrain.py, transfer/*/convert_pretrain_to_*.py",
        places=(place("model", "module.encoder_k."),),
        label="momentum",
        others=(("online", place("model", "module.encoder_q.")),),
        signs=("model:module.grouping_k.slot_embed.weight",),
        drop=(
            "module.projector_[qk].*",
            "module.grouping_[qk].*",
            "module.predictor_slot.*",
            "module.center",
        ),
    ),
    Layout(
        name="lewel",
        source="LayneH/LEWEL models/lewel.py, backbone/resnet.py, main.py, utils/extract_backbone.py",
        places=(place("state_dict", "module.online_net.backbone."),),
        label="online",
        others=(("target", place("state_dict", "module.target_net.backbone.")),),
        drop=(
            "module.online_net.neck.*",
            "module.target_net.neck.*",
            "module.predictor.*",
            "module.predictor_obj.*",
        ),
    ),
    Layout(
        name="openselfsup-extracted",
        source=(
            "WXinlong/DenseCL tools/extract_backbone_weights.py; "
            "open-mmlab/mmselfsup (0.x) tools/extract_backbone_weights.py"
        ),
        places=(place("state_dict", ""),),
        signs=("author",),
        also=("DenseCL (release)", "OpenSelfSup"),
    ),
    # Relative location and rotation have backbone. and head.fc_cls. as a fine-tuned classifier has: no entry.
    Layout(
        name="instanceloc-fpn",
        source="limbo0000/InstanceLoc mmdet/models/detectors/insloc_fpn.py, "
        "mmdet/models/roi_heads/bbox_heads/convfc_bbox_inscls_head.py, configs/FPN/insloc_fpn_200ep.py",
        places=(place("state_dict", "backbone."),),
        label="query",
        others=(("key", place("state_dict", "backbone_k.")),),
        signs=("state_dict:backbone_k.layer4.0.conv1.weight", "state_dict:queues"),
        drop=(
            "neck.*",
            "neck_k.*",
            "roi_head.bbox_head.*",
            "roi_head_k.bbox_head.*",
            "queue",
            "queues",
            "queue_ptr",
        ),  # rpn_head has no tensors
    ),
    Layout(
        name="instanceloc-c4",
        source="limbo0000/InstanceLoc transfer/detection/convert_pretrained.py (--c4), "
        "mmdet/models/roi_heads/shared_heads/res_layer.py",
        places=(place("state_dict", "", "mmdet-c4"),),
        label="query",
        others=(("key", place("state_dict", "", "mmdet-c4-key")),),
        signs=("state_dict:backbone_k.conv1.weight",),
        drop=(
            "roi_head.bbox_head.*",
            "roi_head_k.bbox_head.*",
            "queue",
            "queues",  # as in the FPN detector; the C4 one is not in the repository
            "queue_ptr",
        ),
    ),
)
