"""Adam on all weights of a network as one vector: eight operations a step, whatever the number of layers.

torch's own optimisers import its compiler when the first one is made, which takes more than a second.
"""

from typing import final

import torch
from torch import Tensor, nn

MEAN, SQUARE = 0.9, 0.999
"""Shares of the running means of the gradient and of its square that a step keeps."""
LEAST = 1e-8


@final
class Adam:
    """The optimiser of Kingma & Ba 2015, with weight decay added to the gradient or, decoupled, taken off the weights.

    The network's weights become views of one vector, and so do their gradients: do not move it to another device afterwards.
    """

    def __init__(self, network: nn.Module, rate: float, penalty: float = 0.0, decay: float = 0.0) -> None:
        """Start at the network's weights.

        Args:
            network: what is trained.
            rate: the learning rate.
            penalty: the share of the weights that is added to the gradient (L2).
            decay: the share of the weights, times the rate, that each step takes off them (AdamW).
        """
        self.rate, self.penalty, self.decay, self.steps = rate, penalty, decay, 0
        self.weights = joined(network)
        self.gradient, self.mean, self.square = (torch.zeros_like(self.weights) for _ in range(3))
        for weight in network.parameters():
            weight.grad = self.gradient.as_strided(weight.shape, weight.stride(), weight.storage_offset())

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights by the gradient that was accumulated, and forget it."""
        self.steps += 1
        gradient = self.gradient.add_(self.weights, alpha=self.penalty) if self.penalty else self.gradient
        self.weights.mul_(1 - self.rate * self.decay)
        self.mean.lerp_(gradient, 1 - MEAN)
        self.square.mul_(SQUARE).addcmul_(gradient, gradient, value=1 - SQUARE)
        size = (self.square.sqrt() / (1 - SQUARE**self.steps) ** 0.5).add_(LEAST)
        self.weights.addcdiv_(self.mean, size, value=-self.rate / (1 - MEAN**self.steps))
        self.gradient.zero_()


@torch.no_grad()
def joined(network: nn.Module) -> Tensor:
    """Return all weights of a network as one vector, of which they become views; their memory formats stay."""
    weights = list(network.parameters())
    vector = torch.cat([weight.new_empty(weight.numel()) for weight in weights])
    start = 0
    for weight in weights:
        view = vector.as_strided(weight.shape, weight.stride(), start)
        weight.data = view.copy_(weight)
        start += weight.numel()
    return vector
