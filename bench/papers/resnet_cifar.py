"""ResNets for photos of 32x32 px (He et al. 2016, arXiv:1512.03385, section 4.2): 6n + 2 layers of 16, 32 and 64 channels.

A plugin (docs/plugins.md). Where a block halves the photo its shortcut takes every second pixel and adds channels of zeros
(option A), so that shortcuts have no parameters: ResNet-32 has 0.46 million.
"""

import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn

# Of CIFAR-10's training photos, as the papers normalise them.
PIXELS = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010), "input_size": (3, 32, 32)}


class Block(nn.Module):
    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - channels

    def forward(self, photos: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(photos)))))
        half = self.added // 2
        short = F.pad(photos[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half)) if self.added else photos
        return F.relu(out + short)


class ResNet(nn.Module):
    def __init__(self, layers: int, num_classes: int) -> None:
        super().__init__()
        self.num_features = 64
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks: list[nn.Module] = []
        channels = 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for number in range((layers - 2) // 6):
                blocks.append(Block(channels, outputs, 1 if number else stride))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.reset_classifier(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        self.pretrained_cfg = PIXELS

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, photos: Tensor) -> Tensor:
        return self.blocks(self.stem(photos))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = features.mean((2, 3))
        return pooled if pre_logits else self.head(pooled)

    def forward(self, photos: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(photos))


@register_model
def cifar_resnet8(pretrained: bool = False, num_classes: int = 10, **kwargs: object) -> ResNet:
    return ResNet(8, num_classes)


@register_model
def cifar_resnet14(pretrained: bool = False, num_classes: int = 10, **kwargs: object) -> ResNet:
    return ResNet(14, num_classes)


@register_model
def cifar_resnet32(pretrained: bool = False, num_classes: int = 10, **kwargs: object) -> ResNet:
    return ResNet(32, num_classes)
