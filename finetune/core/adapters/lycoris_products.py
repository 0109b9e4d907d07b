"""LoHa and LoKr layers as pairs of LoRA matrices: the same difference of weights, in PEFT's form.

LoHa's difference is the elementwise product of two low-rank matrices, LoKr's the Kronecker product of two small ones
(LyCORIS, arXiv 2309.14859; `lycoris/functional/loha.py` and `lokr.py`, Apache-2.0). Both are exactly a product of two
matrices: of rank r x r for LoHa, of LoKr's first factor's width times its rank, or of the difference itself and a unit
matrix where that is narrower. Tucker-decomposed convolutions (`hada_t1`, `lokr_t2`) are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
ENDINGS = {f".{part}": part for part in (*LOHA, *LOKR)}
"""Ending of a key -> the part it holds."""

Shape = tuple[int, ...]


def method_of(parts: Mapping[str, str]) -> str:
    """`LoHa` or `LoKr` for a layer that has all matrices of it and none of another method; else empty.

    Args:
        parts: Part -> key, of one layer.
    """
    matrices = {part for part in parts if part in LOHA or part in LOKR}
    others = {part for part in parts if part in ("down", "up")}
    if others or not matrices:
        return ""
    if matrices == set(LOHA):
        return "LoHa"
    whole = [{f"lokr_w{n}"} for n in (1, 2)]
    halves = [{f"lokr_w{n}_a", f"lokr_w{n}_b"} for n in (1, 2)]
    both = [first | second for first in (whole[0], halves[0]) for second in (whole[1], halves[1])]
    return "LoKr" if matrices in both else ""


def rank_of(parts: Mapping[str, str], shapes: Mapping[str, Shape]) -> int:
    """The rank that alpha is divided by; 0 for a LoKr of two whole factors, which has none."""
    inner = next((part for part in ("hada_w1_b", "lokr_w1_b", "lokr_w2_b") if part in parts), None)
    return shapes[parts[inner]][0] if inner else 0


def fits(parts: Mapping[str, str], shapes: Mapping[str, Shape], weight: Shape) -> bool:
    """Whether a layer's matrices make a difference of that weight's shape.

    Args:
        parts: Part -> key; of a layer for which `method_of` has an answer.
        shapes: Shape of each tensor by key.
        weight: Shape of the layer's weight: (out, in) or (out, in, height, width).
    """
    size = {part: shapes[key] for part, key in parts.items()}
    if any(len(shape) < 2 for part, shape in size.items() if part in ENDINGS.values()):
        return False
    wanted = weight[0], prod(weight[1:])
    if "hada_w1_a" in parts:
        pairs = [(size[f"hada_w{n}_a"], size[f"hada_w{n}_b"]) for n in (1, 2)]
        return all(a[1] == b[0] and (a[0], prod(b[1:])) == wanted for a, b in pairs) and _same_rank(pairs)
    (out, into), (out_2, into_2) = (_factor_shape(size, n) for n in (1, 2))
    return min(out, out_2) > 0 and (out * out_2, into * into_2) == wanted


def _same_rank(pairs: list[tuple[Shape, Shape]]) -> bool:
    return len({a[1] for a, _ in pairs}) == 1


def _factor_shape(size: Mapping[str, Shape], number: int) -> tuple[int, int]:
    """(out, in) of a Kronecker factor, kernel counted as inputs; (0, 0) where its halves do not fit together."""
    if whole := size.get(f"lokr_w{number}"):
        return whole[0], prod(whole[1:])
    a, b = size[f"lokr_w{number}_a"], size[f"lokr_w{number}_b"]
    return (a[0], prod(b[1:])) if a[1] == b[0] else (0, 0)


def lora_matrices(parts: Mapping[str, str], tensors: Mapping[str, Tensor], weight: Shape) -> tuple[Tensor, Tensor]:
    """The pair of matrices whose product is a layer's difference, without its scale.

    Args:
        parts: Part -> key; a layer that `fits`.
        tensors: By key.
        weight: Shape of the layer's weight.

    Returns:
        Down (R, in[, height, width]) and up (out, R[, 1, 1]), in fp32.
    """
    given = {part: tensors[key].float() for part, key in parts.items() if part in ENDINGS.values()}
    down, up = _loha(given) if "hada_w1_a" in given else _lokr(given)
    narrow = min(weight[0], prod(weight[1:]))
    if down.shape[0] >= narrow:
        down, up = _with_unit(up @ down)
    kernel = weight[2:]
    return down.reshape(-1, weight[1], *kernel), up.reshape(weight[0], -1, *(1 for _ in kernel))


def _loha(given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(a1 b1) * (a2 b2), elementwise: each column of the product's up is one of a1 times one of a2."""
    a1, b1, a2, b2 = (given[part].flatten(1) for part in LOHA)
    up = (a1[:, :, None] * a2[:, None, :]).flatten(1)
    down = (b1[:, None, :] * b2[None, :, :]).flatten(0, 1)
    return down, up


def _lokr(given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """w1 x w2 (Kronecker); with w2 = a b that is (w1 x a)(1 x b)."""
    import torch

    first = given["lokr_w1"] if "lokr_w1" in given else given["lokr_w1_a"] @ given["lokr_w1_b"]
    if "lokr_w2" in given:
        return _with_unit(torch.kron(first, given["lokr_w2"].flatten(1)))
    unit = torch.eye(first.shape[1])
    return torch.kron(unit, given["lokr_w2_b"].flatten(1)), torch.kron(first, given["lokr_w2_a"])


def _with_unit(difference: Tensor) -> tuple[Tensor, Tensor]:
    """A whole difference as a product with the smaller unit matrix."""
    import torch

    out, into = difference.shape
    return (difference, torch.eye(out)) if out <= into else (torch.eye(into), difference)
