"""``LocalAttention``: every pixel's query against the keys around it, the softmax over their values.

Contract (domain ``arseg``, version 1)
    ``LocalAttention(query, key, value [N, C, h, w]) -> attended [N, C, h, w]``, all float32.
    The dot products of a pixel's query with the keys of its k×k neighbourhood go through softmax, without
    a scale factor, and weight the values (Hu et al., CVPR 2023, section 3.3). Neighbours outside the image
    are zeros: they take part in the softmax with a score of 0 and add nothing to the sum.

Attribute ``kernel_size``: k, odd; the published models use 7.

The body works on tiles of 8×8 queries against the (8 + k − 1)² keys around them, as two matrix products
with a mask in between: four times the multiply-adds of the definition, yet fast on every provider, since
matrix products are; and it walks over one row of tiles at a time, so that memory stays bounded at any size.

The kernel is ``runtime/native/local_attention.cc``.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from arseg_edge.export.operators.function import emit, parse_body
from arseg_edge.operators import LOCAL_ATTENTION

TILE = 8
_OUT_OF_WINDOW = -1e30
# The PyTorch form goes over bands of rows of about this many values: memory stays bounded.
_BAND_ELEMENTS = 1 << 22

# {t}: tile, {r}: radius, {e}: tile with its surroundings; the mask is put in afterwards.
_BODY = """
LocalAttention <kernel_size> (query, key, value) => (attended)
{{
    mask = Constant <value = float {{0.0}}> ()
    n_c = Shape <end = 2> (query)
    h = Shape <start = 2, end = 3> (query)
    w = Shape <start = 3, end = 4> (query)
    n = Shape <end = 1> (query)
    c = Shape <start = 1, end = 2> (query)
    zero = Constant <value = int64[1] {{0}}> ()
    one = Constant <value = int64[1] {{1}}> ()
    two = Constant <value = int64[1] {{2}}> ()
    three = Constant <value = int64[1] {{3}}> ()
    tile = Constant <value = int64[1] {{{t}}}> ()
    tile_minus_one = Constant <value = int64[1] {{{t_minus_one}}}> ()
    tile_area = Constant <value = int64[1] {{{t_area}}}> ()
    radius = Constant <value = int64[1] {{{r}}}> ()
    window = Constant <value = int64[1] {{{e}}}> ()
    window_area = Constant <value = int64[1] {{{e_area}}}> ()
    h_up = Add (h, tile_minus_one)
    tile_rows = Div (h_up, tile)
    w_up = Add (w, tile_minus_one)
    tile_columns = Div (w_up, tile)
    padded_w = Mul (tile_columns, tile)
    w_missing = Sub (padded_w, w)
    right = Add (w_missing, radius)
    row_axis_and_column_axis = Concat <axis = 0> (two, three)

    scalar_zero = Squeeze (zero)
    scalar_one = Squeeze (one)
    tile_columns_scalar = Squeeze (tile_columns)
    window_scalar = Squeeze (window)
    tile_index = Range (scalar_zero, tile_columns_scalar, scalar_one)
    first_column_flat = Mul (tile_index, tile)
    first_column = Unsqueeze (first_column_flat, one)
    in_window = Range (scalar_zero, window_scalar, scalar_one)
    columns = Add (first_column, in_window)

    query_split = Concat <axis = 0> (n, c, tile, tile_columns, tile)
    query_tiles_shape = Concat <axis = 0> (n, tile_columns, tile_area, c)
    key_tiles_shape = Concat <axis = 0> (n, tile_columns, c, window_area)
    value_tiles_shape = Concat <axis = 0> (n, tile_columns, window_area, c)
    out_split = Concat <axis = 0> (n, tile_columns, tile, tile, c)
    out_band_shape = Concat <axis = 0> (n, c, tile, padded_w)

    trips = Squeeze (tile_rows)
    go_on = Constant <value = bool {{1}}> ()
    bands = Loop (trips, go_on) <body = one_row_of_tiles
        (int64 tile_row, bool go_on_in) => (bool go_on_out, float[] band)
        {{
            go_on_out = Identity (go_on_in)
            top = Mul (tile_row, tile)
            bottom_far = Add (top, tile)
            bottom = Min (bottom_far, h)
            query_rows = Slice (query, top, bottom, two)
            rows_short = Sub (bottom_far, bottom)
            query_pads = Concat <axis = 0> (zero, zero, rows_short, w_missing)
            query_band = Pad (query_rows, query_pads, , row_axis_and_column_axis)
            query_parts = Reshape (query_band, query_split)
            query_turned = Transpose <perm = [0, 3, 2, 4, 1]> (query_parts)
            query_tiles = Reshape (query_turned, query_tiles_shape)

            around_top_raw = Sub (top, radius)
            around_top = Max (around_top_raw, zero)
            around_bottom_raw = Add (bottom_far, radius)
            around_bottom = Min (around_bottom_raw, h)
            above = Sub (around_top, around_top_raw)
            below = Sub (around_bottom_raw, around_bottom)
            around_pads = Concat <axis = 0> (above, radius, below, right)

            key_rows = Slice (key, around_top, around_bottom, two)
            key_band = Pad (key_rows, around_pads, , row_axis_and_column_axis)
            key_parts = Gather <axis = 3> (key_band, columns)
            key_turned = Transpose <perm = [0, 3, 1, 2, 4]> (key_parts)
            key_tiles = Reshape (key_turned, key_tiles_shape)

            scores = MatMul (query_tiles, key_tiles)
            masked = Add (scores, mask)
            weights = Softmax <axis = -1> (masked)

            value_rows = Slice (value, around_top, around_bottom, two)
            value_band = Pad (value_rows, around_pads, , row_axis_and_column_axis)
            value_parts = Gather <axis = 3> (value_band, columns)
            value_turned = Transpose <perm = [0, 3, 2, 4, 1]> (value_parts)
            value_tiles = Reshape (value_turned, value_tiles_shape)

            out_tiles = MatMul (weights, value_tiles)
            out_parts = Reshape (out_tiles, out_split)
            out_turned = Transpose <perm = [0, 4, 2, 1, 3]> (out_parts)
            band = Reshape (out_turned, out_band_shape)
        }}>
    bands_inside = Transpose <perm = [1, 2, 0, 3, 4]> (bands)
    padded_h = Mul (tile_rows, tile)
    padded_shape = Concat <axis = 0> (n_c, padded_h, padded_w)
    padded = Reshape (bands_inside, padded_shape)
    origin = Concat <axis = 0> (zero, zero)
    h_w = Concat <axis = 0> (h, w)
    attended = Slice (padded, origin, h_w, row_axis_and_column_axis)
}}
"""


def body(kernel_size: int) -> onnx.FunctionProto:
    """Return the operator in standard ONNX for one kernel size."""
    window = TILE + kernel_size - 1
    text = _BODY.format(
        t=TILE,
        t_minus_one=TILE - 1,
        t_area=TILE * TILE,
        r=kernel_size // 2,
        e=window,
        e_area=window * window,
    )
    function = parse_body(text)
    (mask,) = (node for node in function.node if list(node.output) == ["mask"])
    mask.attribute[0].t.CopyFrom(numpy_helper.from_array(_window_mask(kernel_size), "mask"))
    return function


def _window_mask(kernel_size: int) -> np.ndarray:
    """Return float32 [TILE², (TILE + k − 1)²]: 0 where a key is in a query's neighbourhood."""
    query, key = np.arange(TILE), np.arange(TILE + kernel_size - 1)
    near = (key >= query[:, None]) & (key < query[:, None] + kernel_size)  # [tile, window], one axis
    both = near[:, None, :, None] & near[None, :, None, :]
    return np.where(both, 0.0, _OUT_OF_WINDOW).astype(np.float32).reshape(query.size**2, key.size**2)


def local_attention(query: Tensor, key: Tensor, value: Tensor, *, kernel_size: int = 7) -> Tensor:
    """Attend within k×k neighbourhoods, float32 [N, C, h, w] each; the contract is the module's.

    While a model is exported this becomes one ``arseg::LocalAttention`` node.

    >>> ones = torch.ones(1, 2, 3, 3)
    >>> uniform = local_attention(torch.zeros_like(ones), ones, ones, kernel_size=3)
    >>> round(uniform[0, 0, 1, 1].item(), 4), round(uniform[0, 0, 0, 0].item(), 4)
    (1.0, 0.4444)
    """
    if torch.compiler.is_exporting():
        return emit(LOCAL_ATTENTION, (query, key, value), {"kernel_size": kernel_size}, shape=query.shape)
    if torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value)):
        return _attend_by_tiles(query, key, value, kernel_size)
    radius = kernel_size // 2
    c, h, w = query.shape[1:]
    keys, values = (F.pad(each, [radius] * 4) for each in (key, value))
    rows = max(1, _BAND_ELEMENTS // (c * w))
    bands = []
    for top in range(0, h, rows):
        band = slice(top, top + rows)
        around = slice(top, min(top + rows, h) + 2 * radius)
        bands.append(_attend(query[:, :, band], keys[:, :, around], values[:, :, around], kernel_size))
    return torch.cat(bands, dim=2)


def _attend(query: Tensor, keys: Tensor, values: Tensor, kernel_size: int) -> Tensor:
    """Attend for [N, C, h, w]; keys and values [N, C, h + k − 1, w + k − 1] reach beyond it on all sides."""
    h, w = query.shape[-2:]
    offsets = [(dy, dx) for dy in range(kernel_size) for dx in range(kernel_size)]
    scores = [(query * keys[..., dy : dy + h, dx : dx + w]).sum(1) for dy, dx in offsets]
    weights = torch.stack(scores, dim=1).softmax(dim=1)
    attended = torch.zeros_like(query)
    for index, (dy, dx) in enumerate(offsets):
        attended = attended + weights[:, index, None] * values[..., dy : dy + h, dx : dx + w]
    return attended


def _attend_by_tiles(query: Tensor, key: Tensor, value: Tensor, kernel_size: int) -> Tensor:
    """The same as matrix products over tiles, as the body has it: with gradients several times faster."""
    n, c, h, w = query.shape
    rows, columns = -(-h // TILE), -(-w // TILE)
    radius, window = kernel_size // 2, TILE + kernel_size - 1
    below, right = rows * TILE - h, columns * TILE - w
    tiles = F.pad(query, [0, right, 0, below]).reshape(n, c, rows, TILE, columns, TILE)
    queries = tiles.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, TILE * TILE, c)

    def around(x: Tensor) -> Tensor:
        """[N, tiles, C, window²]"""
        padded = F.pad(x, [radius, radius + right, radius, radius + below])
        return F.unfold(padded, window, stride=TILE).reshape(n, c, window * window, -1).permute(0, 3, 1, 2)

    mask = torch.from_numpy(_window_mask(kernel_size)).to(query.device)
    weights = (queries @ around(key) + mask).softmax(-1)
    attended = (weights @ around(value).transpose(2, 3)).reshape(n, rows, columns, TILE, TILE, c)
    whole = attended.permute(0, 5, 1, 3, 2, 4).reshape(n, c, rows * TILE, columns * TILE)
    return whole[:, :, :h, :w]
