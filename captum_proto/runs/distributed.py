"""What each of several processes has found, given to all of them: under ``torchrun``, or wherever ``torch.distributed`` is set up."""

from __future__ import annotations

import safetensors.torch
import torch
from torch import Tensor, distributed

from captum_proto._utils.errors import StateError


def gather_tensors(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """
    The tensors of every process of the default group, on the CPU, in the order of ranks.

    Tensors may be of different shapes, and not all processes need have the same. All processes call this together.

    Args:
        tensors (dict[str, Tensor]): Of this process, such as the state of a statistic.

    Returns:
        list[dict[str, Tensor]]: One for each process.

    Raises:
        RuntimeError: If no process group is set up.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        raise StateError(
            "no group of processes is set up; call torch.distributed.init_process_group first, or leave distributed=False."
        )
    device = (
        torch.device("cuda", torch.cuda.current_device())
        if distributed.get_backend() == "nccl"
        else torch.device("cpu")
    )
    content = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    own = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(device)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(lengths, torch.tensor([len(own)], device=device))
    longest = int(max(lengths))
    padded = torch.nn.functional.pad(own, (0, longest - len(own)))
    received = [torch.empty(longest, dtype=torch.uint8, device=device) for _ in lengths]
    distributed.all_gather(received, padded)
    return [
        safetensors.torch.load(bytes(each[: int(length)].cpu().numpy()))
        for each, length in zip(received, lengths, strict=True)
    ]


__all__ = ["gather_tensors"]
