"""Tiny random models of the families of transformers and timm, by name: for tests of layers and maps."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torchvision_cpu import import_torchvision

CLASSES = 5


@dataclass(frozen=True)
class Family:
    """One family: how to build a tiny model of it, and for images of which size.

    Attributes:
        kind: of the model: the name of a class of transformers without "ForImageClassification", or a model of timm.
        settings: of its config, or of `timm.create_model`.
        size: height and width.
        head: the class that transformers call the model, when it is another.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    size: int = 64
    head: str = ""

    def build(self) -> nn.Module:
        """Return the model, its weights random and such that signals neither vanish nor explode."""
        import_torchvision()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return livened((self._of_transformers if self.kind[0].isupper() else self._of_timm)())

    def _of_transformers(self) -> nn.Module:
        import transformers

        config = getattr(transformers, f"{self.kind}Config")(num_labels=CLASSES, **self.settings)
        return getattr(transformers, self.head or f"{self.kind}ForImageClassification")(config)

    def _of_timm(self) -> nn.Module:
        import timm

        return timm.create_model(self.kind, pretrained=False, num_classes=CLASSES, **self.settings)


def livened(module: nn.Module) -> nn.Module:
    """Draw the weights of convolutions anew, as wide as keeps signals alive through many layers."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                deviation = (1.5 / max(1, part.weight[0].numel())) ** 0.5
                part.weight.copy_(deviation * torch.randn(part.weight.shape, generator=source))
    return module.eval()


_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 64,
    "patch_size": 8,
}
_DINO = {key: value for key, value in _VIT.items() if key != "intermediate_size"}
_WINDOWS = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_PYRAMID = {**_STAGES, "num_attention_heads": [1, 2, 2, 4]}
_LEVIT = {
    "image_size": 128,
    "hidden_sizes": [16, 24, 32],
    "num_attention_heads": [2, 2, 2],
    "depths": [1, 1, 1],
    "key_dim": [8, 8, 8],
}
_HIERA = {
    "image_size": [64, 64],
    "embed_dim": 16,
    "depths": [1, 2, 2],
    "num_heads": [1, 2, 4],
    "mlp_ratio": 2.0,
    "num_query_pool": 2,
    "masked_unit_size": [4, 4],
    "query_stride": [2, 2],
    "masked_unit_attention": [True, True, False],
}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1]}
_MOBILEVIT = {
    "image_size": 128,
    "hidden_sizes": [16, 24, 32],
    "neck_hidden_sizes": [8, 8, 12, 16, 16, 24, 32],
    "num_attention_heads": 2,
}
_MOBILEVIT2 = {
    "image_size": 128,
    "width_multiplier": 0.25,
    "n_attn_blocks": [1, 1, 1],
    "base_attn_unit_dims": [32, 48, 64],
}
_PERCEIVER = {
    "num_latents": 16,
    "d_latents": 32,
    "num_blocks": 1,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4,
    "num_cross_attention_heads": 1,
    "image_size": 64,
}
_FOCAL = {
    "image_size": 64,
    "embed_dim": 16,
    "depths": [1, 1, 1],
    "hidden_sizes": [16, 32, 64],
    "focal_levels": [2, 2, 2],
    "focal_windows": [3, 3, 3],
}

TRANSFORMERS: dict[str, Family] = {
    "ViT": Family("ViT", _VIT),
    "DeiT": Family("DeiT", _VIT),
    "DeiT with teacher": Family("DeiT", _VIT, head="DeiTForImageClassificationWithTeacher"),
    "BEiT": Family("Beit", _VIT),
    "Data2Vec": Family("Data2VecVision", _VIT),
    "ViT-MSN": Family("ViTMSN", _VIT),
    "I-JEPA": Family("IJepa", _VIT),
    "CLIP": Family("CLIP", {"vision_config": _VIT}),
    "SigLIP": Family("Siglip", {"vision_config": _VIT}),
    "Dinov2": Family("Dinov2", _DINO),
    "Dinov2 with registers": Family("Dinov2WithRegisters", _DINO),
    "Swin": Family("Swin", _WINDOWS),
    "Swinv2": Family("Swinv2", _WINDOWS),
    "Hiera": Family("Hiera", _HIERA),
    "PVT": Family("Pvt", {**_PYRAMID, "image_size": 128}, 128),
    "PVTv2": Family("PvtV2", {**_PYRAMID, "image_size": 128}, 128),
    "SegFormer": Family("Segformer", _PYRAMID, 128),
    "PoolFormer": Family("PoolFormer", _STAGES, 128),
    "ConvNeXt": Family("ConvNext", _STAGES, 128),
    "ConvNeXtV2": Family("ConvNextV2", _STAGES, 128),
    "ResNet": Family("ResNet", {**_RESNET, "layer_type": "basic"}),
    "RegNet": Family("RegNet", {**_RESNET, "groups_width": 4}),
    "BiT": Family("Bit", {**_STAGES, "hidden_sizes": [32, 32, 64, 64], "embedding_size": 8, "num_groups": 4}, 128),
    "MobileNetV1": Family("MobileNetV1", {"image_size": 128, "depth_multiplier": 0.25}, 128),
    "MobileNetV2": Family("MobileNetV2", {"image_size": 128, "depth_multiplier": 0.25}, 128),
    "MobileViT": Family("MobileViT", _MOBILEVIT, 128),
    "MobileViTV2": Family("MobileViTV2", _MOBILEVIT2, 128),
    "EfficientNet": Family(
        "EfficientNet",
        {"image_size": 128, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
        128,
    ),
    "LeViT": Family("Levit", _LEVIT, 128),
    "LeViT with teacher": Family("Levit", _LEVIT, 128, head="LevitForImageClassificationWithTeacher"),
    "FocalNet": Family("FocalNet", _FOCAL),
    "SwiftFormer": Family("SwiftFormer", {"image_size": 128, "embed_dims": [8, 16, 24, 32], "depths": [1] * 4}, 128),
    "TextNet": Family("TextNet", {}, 128),
    "HGNetV2": Family("HGNetV2", {}, 128),
    "Perceiver": Family("Perceiver", _PERCEIVER, head="PerceiverForImageClassificationConvProcessing"),
}

_TIMM_VIT = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4}
_TIMM_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 16, "depths": (1, 2, 2), "num_heads": (2, 2, 2)}
_TIMM_TWINS = {"img_size": 64, "embed_dims": (16, 16, 24, 32), "num_heads": (1, 2, 2, 2), "depths": (1, 1, 1, 1)}
_FOUR = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}

TIMM: dict[str, Family] = {
    "vision_transformer": Family("vit_tiny_patch16_224", _TIMM_VIT),
    "registers": Family("vit_small_patch14_reg4_dinov2", _TIMM_VIT),
    "mean pooling": Family("vit_base_patch16_gap_224", _TIMM_VIT),
    "attention pooling": Family("vit_base_patch16_siglip_224", _TIMM_VIT),
    "vision_transformer_relpos": Family("vit_relpos_small_patch16_224", _TIMM_VIT),
    "vision_transformer_sam": Family(
        "samvit_base_patch16_224", {**_TIMM_VIT, "global_attn_indexes": (2,), "window_size": 4}
    ),
    "deit": Family("deit_tiny_distilled_patch16_224", _TIMM_VIT),
    "beit": Family("beit_base_patch16_224", _TIMM_VIT),
    "eva": Family("eva02_tiny_patch14_224", _TIMM_VIT),
    "cait": Family("cait_xxs24_224", _TIMM_VIT),
    "xcit": Family("xcit_nano_12_p16_224", {"img_size": 64, "embed_dim": 32, "depth": 2, "num_heads": 4}),
    "convit": Family("convit_tiny", {**_TIMM_VIT, "local_up_to_layer": 2}),
    "pit": Family(
        "pit_ti_224",
        {
            "img_size": 64,
            "patch_size": 8,
            "stride": 4,
            "base_dims": (16,) * 3,
            "depth": (1,) * 3,
            "heads": (1, 2, 2),
        },
    ),
    "coat": Family("coat_lite_tiny", {"img_size": 64}),
    "volo": Family("volo_d1_224", {"img_size": 64}),
    "levit": Family(
        "levit_128s",
        {"img_size": 64, "embed_dim": (16, 24, 32), "key_dim": 8, "depth": (1, 1, 1), "num_heads": (2, 2, 2)},
    ),
    "swin_transformer": Family("swin_tiny_patch4_window7_224", _TIMM_SWIN),
    "swin_transformer_v2": Family("swinv2_tiny_window8_256", _TIMM_SWIN),
    "swin_transformer_v2_cr": Family("swinv2_cr_tiny_224", _TIMM_SWIN),
    "nest": Family("nest_tiny", {"img_size": 64}),
    "twins": Family("twins_pcpvt_small", _TIMM_TWINS),
    "twins, windows": Family("twins_svt_small", _TIMM_TWINS),
    "visformer": Family("visformer_tiny", {"img_size": 64, "embed_dim": 32, "depth": (1, 1, 1), "num_heads": 2}),
    "maxxvit": Family("maxvit_tiny_rw_224", {"img_size": 64}),
    "edgenext": Family("edgenext_xx_small"),
    "efficientvit_mit": Family("efficientvit_b0"),
    "fastvit": Family("fastvit_t8"),
    "hiera": Family("hiera_tiny_224", {"img_size": 64, "embed_dim": 16, "num_heads": 1, "stages": (1, 1, 2, 1)}),
    "hieradet_sam2": Family("sam2_hiera_tiny", {}, 128),
    "mvitv2": Family("mvitv2_tiny", {"img_size": 64}),
    "pvt_v2": Family("pvt_v2_b0"),
    "metaformer": Family("poolformer_s12"),
    "mlp_mixer": Family("mixer_s16_224", {"img_size": 64}),
    "resmlp": Family("resmlp_12_224", {"img_size": 64}),
    "gmlp": Family("gmlp_ti16_224", {"img_size": 64}),
    "sequencer": Family(
        "sequencer2d_s",
        {"layers": (1,) * 4, "embed_dims": (16, 32, 32, 32), "hidden_sizes": (4, 8, 8, 8)},
    ),
    "convnext": Family("convnext_atto"),
    "davit": Family("davit_tiny", {"depths": (1,) * 4, "embed_dims": (16, 16, 24, 32), "num_heads": (1, 2, 2, 2)}),
    "mambaout": Family("mambaout_femto", _FOUR),
    "inception_next": Family("inception_next_atto"),
    "resnet": Family("resnet10t"),
    "resnetv2": Family("resnetv2_50", {"layers": (1,) * 4, "channels": (16, 32, 32, 64), "stem_chs": 8}),
    "densenet": Family("densenet121", {"block_config": (2, 2, 2, 2)}),
    "mobilenetv3": Family("mobilenetv3_small_050"),
    "efficientnet": Family("efficientnet_lite0"),
    "mobilevit": Family("mobilevit_xxs", {}, 128),
    "mobilevitv2": Family("mobilevitv2_050", {}, 128),
    "ghostnet": Family("ghostnet_050"),
    "hgnet": Family("hgnetv2_b0"),
    "dla": Family("dla46_c"),
    "byobnet": Family("repvgg_a0"),
    "vgg": Family("vgg11_bn"),
    "vovnet": Family("ese_vovnet19b_slim"),
    "rexnet": Family("rexnet_100"),
    "repghost": Family("repghostnet_050"),
    "resnest": Family("resnest14d"),
    "starnet": Family("starnet_s050"),
    "swiftformer": Family("swiftformer_xs"),
    "fasternet": Family("fasternet_t0"),
}
