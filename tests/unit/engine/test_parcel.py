"""Lists that travel together arrive as they were."""

from __future__ import annotations

import torch

from unisono.engine.parcel import Parcel

ELSEWHERE = torch.device("meta")


def test_numbers_arrive_in_order_each_with_its_kind() -> None:
    parcel = Parcel()
    places = [parcel.add([1, 2, 3]), parcel.add([0.5], real=True), parcel.add([]), parcel.add([7])]
    sent = parcel.send(torch.device("cpu"))
    assert [sent[at].tolist() for at in places] == [[1, 2, 3], [0.5], [], [7]]
    assert [sent[at].dtype for at in places[:2]] == [torch.int64, torch.float32]
    assert parcel.send(torch.device("cpu")) == []


def test_on_a_device_they_are_views_of_one_buffer_that_is_refilled() -> None:
    parcel = Parcel()
    parcel.add([1, 2, 3])
    parcel.add([0.5, 0.25, 0.125], real=True)
    parcel.add([4])
    first = parcel.send(ELSEWHERE)
    assert [(x.shape[0], x.dtype, x.storage_offset()) for x in first] == [
        (3, torch.int64, 0),
        (3, torch.float32, 6),
        (1, torch.int64, 5),
    ]
    parcel.add([8, 9])
    (second,) = parcel.send(ELSEWHERE)
    assert second.untyped_storage()._cdata == first[0].untyped_storage()._cdata
