"""The reference pipeline: how people usually write it, for the benchmark to compare with.

The habits of public training scripts such as kuangliu/pytorch-cifar: a torchvision dataset of PIL
images, transforms image by image in a DataLoader with one worker process a core, float32, NCHW,
plain SGD, the loss read back at every step. Nothing of this project's trainer is used here.
"""

import os
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import VisionDataset

PREFETCHED = 2  # batches a worker, DataLoader's default


class PILImages(VisionDataset):
    """Arrays served as torchvision's CIFAR10 and MNIST serve theirs: one PIL image at a time."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Any) -> None:
        super().__init__(root="", transform=transform)
        self.data, self.targets = images.squeeze(-1).numpy(), labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = transforms.functional.to_pil_image(self.data[index])
        return self.transform(image), self.targets[index]


def usual_transforms(
    side: int, crop: int, flip: bool, mean: tuple[float, ...], std: tuple[float, ...]
) -> transforms.Compose:
    """Random crop with ``crop`` pixels of padding, mirror image, tensor, normalisation."""
    steps: list[Any] = [transforms.RandomCrop(side, padding=crop)] if crop else []
    steps += [transforms.RandomHorizontalFlip()] if flip else []
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])


class UsualStep:
    """A training step as people usually write it: float32, plain SGD, loss and hits read back."""

    def __init__(self, model: nn.Module, device: torch.device, lr: float) -> None:
        self.net = model.to(device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)

    def learn(self, inputs: Tensor, targets: Tensor) -> tuple[float, int]:
        """One step on ``(N, C, H, W) float32`` and ``(N,) int64``: its loss, and how many were right."""
        self.optimizer.zero_grad()
        outputs = self.net(inputs)
        loss = self.criterion(outputs, targets)
        loss.backward()
        self.optimizer.step()
        return loss.item(), outputs.argmax(1).eq(targets).sum().item()


class Reference:
    """Trains ``model`` the usual way; without one, only reads the batches."""

    def __init__(self, model: nn.Module | None, dataset: PILImages, batch_size: int, lr: float) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        self.dataset, self.batch_size = dataset, batch_size
        self.workers = len(os.sched_getaffinity(0))
        self.usual = UsualStep(model, self.device, lr) if model else None

    def images_per_second(self, batches: int) -> float:
        """Train on so many batches, over epochs where need be; workers are busy before and after them."""
        made = PREFETCHED * self.workers  # as they start, and beyond what is counted
        images = RandomSampler(self.dataset, num_samples=(2 * made + batches) * self.batch_size)
        loader = DataLoader(
            self.dataset,
            self.batch_size,
            sampler=images,
            num_workers=self.workers,
            multiprocessing_context="fork",
        )
        train_loss, correct = 0.0, 0
        began = time.perf_counter()
        for count, (inputs, targets) in enumerate(loader, 1):
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            if self.usual:
                loss, right = self.usual.learn(inputs, targets)
                train_loss, correct = train_loss + loss, correct + right
            if count == made:
                began = time.perf_counter()
            if count == made + batches:
                break
        return batches * self.batch_size / (time.perf_counter() - began)
