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
The loop is a ``Scan`` whose body takes no value from around it: not every runtime allows that.

The kernel is ``runtime/native/kernels/local_attention.cc``.
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

# {t}: tile, {r}: radius, {halo}: twice that, {e}: tile with its surroundings; the mask is put in afterwards.
#
# Channels go last: what a tile gathers of a pixel then lies together. Each row of tiles comes with the rows of keys and
# values that end its surroundings; those before, the halo, it has from the row of tiles above.
_BODY = """
LocalAttention <kernel_size> (query, key, value) => (attended)
{{
    zero = Constant <value = int64[1] {{0}}> ()
    rest = Constant <value = int64[1] {{-1}}> ()
    end = Constant <value = int64[1] {{{end}}}> ()
    tile = Constant <value = int64[1] {{{t}}}> ()
    tile_minus_one = Constant <value = int64[1] {{{t_minus_one}}}> ()
    origin = Constant <value = int64[2] {{0, 0}}> ()
    rows = Constant <value = int64[1] {{0}}> ()
    rows_and_columns = Constant <value = int64[2] {{0, 1}}> ()
    n_c = Shape <end = 2> (query)
    h_w = Shape <start = 2> (query)
    h_w_up = Add (h_w, tile_minus_one)
    tiles = Div (h_w_up, tile)
    tile_rows, tile_columns = Split <axis = 0, num_outputs = 2> (tiles)
    padded_h_w = Mul (tiles, tile)
    missing = Sub (padded_h_w, h_w)

    query_pads = Concat <axis = 0> (origin, origin, missing, origin)
    query_split = Concat <axis = 0> (tile_rows, tile, tile_columns, tile, n_c)
    query_last = Transpose <perm = [2, 3, 0, 1]> (query)
    query_padded = Pad (query_last, query_pads)
    query_tiles = Reshape (query_padded, query_split)

    radius = Constant <value = int64[2] {{{r}, {r}}}> ()
    halo = Constant <value = int64[1] {{{halo}}}> ()
    far_pads = Add (missing, radius)
    pads = Concat <axis = 0> (radius, origin, far_pads, origin)
    row_split = Concat <axis = 0> (tile_rows, tile, rest, n_c)
    key_last = Transpose <perm = [2, 3, 0, 1]> (key)
    key_padded = Pad (key_last, pads)
    key_halo = Slice (key_padded, zero, halo, rows)
    key_below = Slice (key_padded, halo, end, rows)
    key_rows = Reshape (key_below, row_split)
    value_last = Transpose <perm = [2, 3, 0, 1]> (value)
    value_padded = Pad (value_last, pads)
    value_halo = Slice (value_padded, zero, halo, rows)
    value_below = Slice (value_padded, halo, end, rows)
    value_rows = Reshape (value_below, row_split)

    key_end, value_end, attended_tiles = Scan (key_halo, value_halo, query_tiles, key_rows, value_rows)
    <num_scan_inputs = 3, body = one_row_of_tiles
        (float[?, ?, ?, ?] key_above_in, float[?, ?, ?, ?] value_above_in,
         float[?, ?, ?, ?, ?] query_in, float[?, ?, ?, ?] key_in, float[?, ?, ?, ?] value_in)
        => (float[?, ?, ?, ?] key_above_out, float[?, ?, ?, ?] value_above_out,
            float[?, ?, ?, ?, ?] attended_out)
        {{
            first_axis = Constant <value = int64[1] {{0}}> ()
            second_axis = Constant <value = int64[1] {{1}}> ()
            tile_axes = Constant <value = int64[2] {{1, 2}}> ()
            tile_step = Constant <value = int64[1] {{{t}}}> ()
            to_the_end = Constant <value = int64[1] {{{end}}}> ()
            key_window = Concat <axis = 0> (key_above_in, key_in)
            key_above_out = Slice (key_window, tile_step, to_the_end, first_axis)
            value_window = Concat <axis = 0> (value_above_in, value_in)
            value_above_out = Slice (value_window, tile_step, to_the_end, first_axis)

            from_zero = Constant <value_int = 0> ()
            by_one = Constant <value_int = 1> ()
            window = Constant <value_int = {e}> ()
            tile_count_vector = Shape <start = 1, end = 2> (query_in)
            tile_count = Squeeze (tile_count_vector, first_axis)
            tile_index = Range (from_zero, tile_count, by_one)
            tile_start_flat = Mul (tile_index, tile_step)
            tile_start = Unsqueeze (tile_start_flat, tile_axes)
            in_window = Range (from_zero, window, by_one)
            width = Shape <start = 1, end = 2> (key_in)
            row_start_flat = Mul (in_window, width)
            row_start = Unsqueeze (row_start_flat, second_axis)
            in_window_places = Add (row_start, in_window)
            places_apart = Add (tile_start, in_window_places)
            places_shape = Constant <value = int64[2] {{-1, {e_area}}}> ()
            places = Reshape (places_apart, places_shape)

            query_turned = Transpose <perm = [3, 1, 0, 2, 4]> (query_in)
            query_shape = Constant <value = int64[4] {{0, 0, {t_area}, -1}}> ()
            query_tile = Reshape (query_turned, query_shape)
            any_count = Constant <value = int64[1] {{-1}}> ()
            batch = Shape <start = 2, end = 3> (key_in)
            channels = Shape <start = 3> (key_in)
            flat_shape = Concat <axis = 0> (batch, any_count, channels)
            key_turned = Transpose <perm = [2, 0, 1, 3]> (key_window)
            key_flat = Reshape (key_turned, flat_shape)
            key_tile = Gather <axis = 1> (key_flat, places)
            value_turned = Transpose <perm = [2, 0, 1, 3]> (value_window)
            value_flat = Reshape (value_turned, flat_shape)
            value_tile = Gather <axis = 1> (value_flat, places)

            key_columns = Transpose <perm = [0, 1, 3, 2]> (key_tile)
            scores = MatMul (query_tile, key_columns)
            mask = Constant <value = float {{0.0}}> ()
            masked = Add (scores, mask)
            weights = Softmax <axis = -1> (masked)
            attended_tile = MatMul (weights, value_tile)
            parts_shape = Constant <value = int64[5] {{0, 0, {t}, {t}, -1}}> ()
            attended_parts = Reshape (attended_tile, parts_shape)
            attended_out = Transpose <perm = [2, 1, 3, 0, 4]> (attended_parts)
        }}>

    padded_shape = Concat <axis = 0> (padded_h_w, n_c)
    attended_padded = Reshape (attended_tiles, padded_shape)
    attended_last = Slice (attended_padded, origin, h_w, rows_and_columns)
    attended = Transpose <perm = [2, 3, 0, 1]> (attended_last)
}}
"""
_END = np.iinfo(np.int64).max

# A pixel that attends to itself alone: its weight is 1.
_BODY_OF_ONE_PIXEL = """
LocalAttention <kernel_size> (query, key, value) => (attended)
{
    attended = Identity (value)
}
"""


def body(kernel_size: int) -> onnx.FunctionProto:
    """Return the operator in standard ONNX for one kernel size."""
    if kernel_size == 1:
        return parse_body(_BODY_OF_ONE_PIXEL)
    window = TILE + kernel_size - 1
    text = _BODY.format(
        t=TILE,
        t_minus_one=TILE - 1,
        t_area=TILE * TILE,
        r=kernel_size // 2,
        halo=kernel_size - 1,
        e=window,
        e_area=window * window,
        end=_END,
    )
    function = parse_body(text)
    (loop,) = (attribute.g for node in function.node for attribute in node.attribute if attribute.name == "body")
    (mask,) = (node for node in loop.node if list(node.output) == ["mask"])
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
