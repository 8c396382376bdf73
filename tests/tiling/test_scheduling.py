"""Processes that `--workers` starts: each sees one GPU."""

from __future__ import annotations

import os

import pytest

from ngr_geo.tiling import lanes, scheduling


def test_each_process_sees_one_gpu_in_turn() -> None:
    from distributed import Client

    with scheduling.local(3, gpus=["4", "7"]) as processes, Client(processes) as client:
        client.wait_for_workers(3)
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(seen.values()) == ["4", "4", "7"]


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_device_that_is_chosen_is_left_alone(device: str) -> None:
    assert lanes.gpus(device) == []
