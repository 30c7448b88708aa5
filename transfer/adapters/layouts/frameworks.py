"""Checkpoints that frameworks for self-supervised pretraining write, whatever the method."""

from __future__ import annotations

from transfer.adapters.layout import Layout, Place, place

_VISSL_TRUNK = "classy_state_dict/base_model/model/trunk"
_VISSL_MOMENTUM = tuple(
    (label, place(container, f"{module}.{wrapper}trunk._feature_blocks."))
    for container in ("classy_state_dict/loss", "loss")  # the hook that saves writes it twice
    for label, module in (("key", "moco_encoder"), ("momentum", "momentum_encoder"))
    for wrapper in ("", "module.")
)


def _at(container: str, *prefixes: str) -> tuple[Place, ...]:
    return tuple(place(container, prefix) for prefix in prefixes)


# 0.x wraps plain Sequentials, 1.x averaged models (`module.` inside, `steps` beside).
_MM_OTHERS = (
    ("query-alias", place("state_dict", "encoder_q.0.")),  # the very tensors of backbone.
    ("key", place("state_dict", "encoder_k.0.")),
    ("key", place("state_dict", "encoder_k.module.0.")),
    ("online-alias", place("state_dict", "online_net.0.")),
    ("target", place("state_dict", "target_net.0.")),
    ("target", place("state_dict", "target_net.module.0.")),
    ("alias", place("state_dict", "encoder.0.")),
    ("base-alias", place("state_dict", "base_encoder.0.")),
    ("momentum", place("state_dict", "momentum_encoder.0.")),
    ("momentum", place("state_dict", "momentum_encoder.module.0.")),
)
_MM_DROP = (
    "neck.*",
    "encoder_q.1.*",
    "encoder_k.1.*",
    "encoder_k.module.1.*",
    "encoder_k.steps",
    "online_net.1.*",
    "target_net.1.*",
    "target_net.module.1.*",
    "target_net.steps",
    "encoder.1.*",
    "base_encoder.1.*",
    "momentum_encoder.1.*",
    "momentum_encoder.module.1.*",
    "momentum_encoder.steps",
    "queue",
    "queue_ptr",
    "queue2",
    "queue2_ptr",
    "global_head.predictor.*",  # ORL in its own repository
    "local_intra_head.predictor.*",
    "local_inter_head.predictor.*",
    "head.predictor.*",  # BYOL, SimSiam, MoCo v3
    "head.bn.*",  # Barlow Twins: statistics only
    "head.prototypes.*",  # SwAV 0.x
    "head.loss.prototypes.*",  # SwAV 1.x
    "loc_intra_head.predictor.*",  # ORL
    "loc_inter_head.predictor.*",
    "inter_neck_q.*",  # InterCLR
    "inter_neck_k.*",
    "memory_bank.feature_bank",  # a buffer in ODC; a plain attribute, so not in the file, in NPID
    "memory_bank.label_bank",
    "memory_bank.centroids",
    "enc_dec_norms.*",  # SparK in 1.x
    "enc_dec_projectors.*",
    "mask_tokens.*",
)
_MM_SOURCE = (
    "open-mmlab/mmselfsup mmselfsup/models/{algorithms,heads,memories}; "
    "open-mmlab/mmpretrain mmpretrain/models/selfsup; "
    "open-mmlab/mmengine mmengine/model/averaged_model.py, mmengine/runner/runner.py; "
    "WXinlong/DenseCL openselfsup/models/densecl.py; Jiahao000/ORL openselfsup/models/orl.py; "
    "Annbless/RegionCL openselfsup/models/RegionCLM.py"
)

_LIGHTLY_HEADS = (
    "projection_head.*",
    "prediction_head.*",
    "student_projection_head.*",
    "student_prediction_head.*",
    "teacher_projection_head.*",
    "query_projection_head.*",
    "key_projection_head.*",
    "prototypes.heads.*",  # SwAV
    "criterion.center",  # DINO
    "online_classifier.classification_head.*",
    # NTXent's memory bank and SwAV's queues are buffers with persistent=False: not in the file.
)
_LIGHTLY = "state_dict:online_classifier.classification_head.weight"

_SOLO_HEADS = (
    "classifier.*",
    "momentum_classifier.*",
    "projector.*",
    "momentum_projector.*",
    "predictor.*",
    "predictor2.*",  # All4One
    "transformer_encoder.*",  # All4One
    "prototypes.*",  # SwAV (weight_g, weight_v), DeepCluster v2 (0.weight ...)
    "head.*",  # DINO
    "momentum_head.*",
    "dino_loss_func.center",
    "queue",
    "queue_ptr",
    "queue_y",
    "queue_index",
    "local_memory_index",
    "local_memory_embeddings",
    # The k-NN metric's states are not persistent: not in the file.
)

FRAMEWORKS: tuple[Layout, ...] = (
    Layout(
        name="vissl",
        source="facebookresearch/vissl vissl/models/trunks/resnext.py, feature_extractor.py, "
        "vissl/models/base_ssl_model.py (get_classy_state), vissl/hooks/log_hooks.py, "
        "vissl/losses/{moco_loss,swav_momentum_loss}.py, "
        "extra_scripts/convert_vissl_to_{torchvision,detectron2}.py, convert_sslime_to_vissl_torchvision.py",
        places=(
            *_at(_VISSL_TRUNK, "_feature_blocks.", "base_model._feature_blocks."),
            *_at("classy_state_dict", "_feature_blocks."),  # convert_sslime_to_vissl_torchvision.py
            *_at("model_state_dict", "_feature_blocks."),
            *_at("", "_feature_blocks."),  # the converters accept it
        ),
        label="trunk",
        others=_VISSL_MOMENTUM,
        drop=(
            "fc1.*",  # what its own converter skips; heads are another dict
            "fc2.*",
            # Beside a momentum encoder, which is kept in the loss.
            "moco_encoder.heads.*",
            "moco_encoder.module.heads.*",
            "momentum_encoder.heads.*",
            "momentum_encoder.module.heads.*",
            "queue",
            "queue_ptr",
            "num_iteration",
            "local_queue[0-9]",
            "local_emb_queue",
        ),
        notes=("files converted from Caffe2 may expect BGR in conv1: the file does not say",),
    ),
    Layout(
        name="vissl-dino",
        source="facebookresearch/vissl extra_scripts/convert_dino_checkpoint.py, vissl/losses/dino_loss.py",
        places=(
            place("classy_state_dict/loss", "momentum_teacher.module.trunk._feature_blocks."),
            place("classy_state_dict/loss", "momentum_teacher.trunk._feature_blocks."),
        ),
        label="teacher",
        others=(
            ("student", place(_VISSL_TRUNK, "_feature_blocks.")),
            ("teacher-copy", place("loss", "momentum_teacher.module.trunk._feature_blocks.")),
            ("teacher-copy", place("loss", "momentum_teacher.trunk._feature_blocks.")),
        ),
        signs=("classy_state_dict/loss:center",),
        drop=("center", "momentum_teacher.module.heads.*", "momentum_teacher.heads.*"),
        notes=("a ResNet-50 pretrained with VISSL's DINO was not seen; its zoo has transformers",),
    ),
    Layout(
        name="solo-learn",
        source="vturrisi/solo-learn solo/methods, main_linear.py, "
        "downstream/object_detection/convert_model_to_detectron2.py",
        places=(place("state_dict", "backbone."),),
        others=(("momentum", place("state_dict", "momentum_backbone.")),),
        signs=("state_dict:classifier.weight", "state_dict:projector.*"),
        drop=_SOLO_HEADS,
    ),
    Layout(
        name="solo-learn-dino",
        source="vturrisi/solo-learn solo/methods/dino.py, solo/losses/dino.py, main_linear.py",
        places=(place("state_dict", "backbone."),),
        label="student",  # its linear probe loads `backbone.`, so the student, unlike DINO's authors
        others=(("teacher", place("state_dict", "momentum_backbone.")),),
        signs=("state_dict:classifier.weight", "state_dict:head.mlp.*", "state_dict:momentum_head.mlp.*"),
        drop=_SOLO_HEADS,
    ),
    Layout(
        # Early versions, before `encoder` became `backbone`.
        name="solo-learn-old",
        source="vturrisi/solo-learn solo/methods/base.py, main_linear.py, early versions",
        places=(place("state_dict", "encoder."),),
        others=(("momentum", place("state_dict", "momentum_encoder.")),),
        signs=("state_dict:classifier.weight", "state_dict:projector.*"),
        drop=_SOLO_HEADS,
    ),
    Layout(
        name="lightly",
        source="lightly-ai/lightly benchmarks/imagenet/resnet50/{barlowtwins,ssley,swav,wmse}.py, "
        "lightly/models/modules/heads.py, lightly/utils/benchmarking/online_linear_classifier.py",
        places=(place("state_dict", "backbone."),),
        signs=(_LIGHTLY,),
        drop=_LIGHTLY_HEADS,
        also=("SimCLR", "DCL", "DCLW", "VICReg", "Barlow Twins", "SwAV"),
    ),
    Layout(
        name="lightly-byol",
        source="lightly-ai/lightly benchmarks/imagenet/resnet50/byol.py (teacher_backbone is the EMA)",
        places=(place("state_dict", "backbone."),),
        label="online",
        others=(("teacher", place("state_dict", "teacher_backbone.")),),
        signs=(_LIGHTLY, "state_dict:teacher_backbone.conv1.weight"),
        drop=_LIGHTLY_HEADS,
    ),
    Layout(
        name="lightly-mocov2",
        source="lightly-ai/lightly benchmarks/imagenet/resnet50/mocov2.py (key_backbone is the EMA)",
        places=(place("state_dict", "backbone."),),
        label="online",
        others=(("key", place("state_dict", "key_backbone.")),),
        signs=(_LIGHTLY, "state_dict:key_backbone.conv1.weight"),
        drop=_LIGHTLY_HEADS,
    ),
    Layout(
        # DINO, TiCo and the first versions of BYOL: `backbone.` is the EMA, and what they evaluate.
        name="lightly-student",
        source="lightly-ai/lightly benchmarks/imagenet/resnet50/{dino,tico}.py, byol.py (first versions), "
        "lightly/loss/dino_loss.py",
        places=(place("state_dict", "backbone."),),
        label="teacher",
        others=(("student", place("state_dict", "student_backbone.")),),
        signs=(_LIGHTLY, "state_dict:student_backbone.conv1.weight"),
        drop=_LIGHTLY_HEADS,
    ),
    Layout(
        # MoCo v2 at commit 00283d72: `backbone.` is the EMA key encoder, and what it evaluates.
        name="lightly-query",
        source="lightly-ai/lightly benchmarks/imagenet/resnet50/mocov2.py (first versions)",
        places=(place("state_dict", "backbone."),),
        label="key",
        others=(("query", place("state_dict", "query_backbone.")),),
        signs=(_LIGHTLY, "state_dict:query_backbone.conv1.weight"),
        drop=_LIGHTLY_HEADS,
    ),
    Layout(
        name="lightly-train",
        source="lightly-ai/lightly-train src/lightly_train/_checkpoint.py, _models/embedding_model.py, "
        "_models/torchvision/resnet.py, _methods/dino/dino.py, _methods/simclr/simclr.py",
        places=tuple(
            place("state_dict", f"{role}embedding_model.model_wrapper._features.")
            for role in ("", "teacher_")
        ),
        label="model",  # the one that is exported: DINO's teacher
        others=(("student", place("state_dict", "student_embedding_model.model_wrapper._features.")),),
        signs=("lightly_train",),
        drop=(
            "projection_head.*",
            "teacher_projection_head.*",
            "student_projection_head.*",
            "embedding_model.embed_head.*",
            "teacher_embedding_model.embed_head.*",
            "student_embedding_model.embed_head.*",
            "criterion.center",
        ),
        notes=("mean and std are in the file, under lightly_train/normalize_args; taken for ImageNet's",),
    ),
    Layout(
        # The model that is trained and exported is the student; the teacher is taken out on saving.
        name="lightly-train-distillation",
        source="lightly-ai/lightly-train src/lightly_train/_methods/distillation/distillation.py",
        places=(place("state_dict", "student_embedding_model.model_wrapper._features."),),
        label="student",
        signs=("lightly_train", "state_dict:teacher_queue"),
        drop=("teacher_queue", "student_projection_head.*", "student_embedding_model.embed_head.*"),
    ),
    Layout(
        name="mmselfsup",
        source=_MM_SOURCE,
        places=(place("state_dict", "backbone."),),
        others=_MM_OTHERS,
        signs=("meta",),
        drop=_MM_DROP,
        also=("OpenSelfSup", "DenseCL", "ORL", "RegionCL-M", "MMPretrain", "SoCo-C4 (for MMDetection)"),
    ),
    Layout(
        # ODC and DeepCluster: a classifier over clusters, told from a fine-tuned one by its class weights.
        name="mmselfsup-clusters",
        source="open-mmlab/mmselfsup mmselfsup/models/algorithms/odc.py, deepcluster.py, heads/cls_head.py",
        places=(place("state_dict", "backbone."),),
        signs=("meta", "state_dict:loss_weight", "state_dict:head.fc_cls.weight"),
        drop=(*_MM_DROP, "loss_weight", "head.fc_cls.*"),
    ),
)
