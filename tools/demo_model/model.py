"""The Qwen3-VL architecture for training: one grid and one length a batch, so everything is a plain batched operation.

Parameter names are those of published checkpoints. Differences from transformers' model are of speed only: pictures of a batch
go through the vision tower together, position tables are made once per grid, and logits are made for answers only.
"""
import dataclasses
import functools
import math

import torch
import torch.nn.functional as F
from torch import nn

PRESETS = {
    "demo-13M": dict(vision=dict(hidden_size=192, depth=6, num_heads=3, intermediate_size=768, num_position_embeddings=576,
                                 deepstack_visual_indexes=[1, 2, 4]),
                     text=dict(hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
                               intermediate_size=768)),
    "unit": dict(vision=dict(hidden_size=64, depth=4, num_heads=1, intermediate_size=128, num_position_embeddings=64,
                             deepstack_visual_indexes=[0, 1, 2]),
                 text=dict(hidden_size=128, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1,
                           intermediate_size=256)),
}
VOCAB_SIZE = 2048
HEAD_DIM = 128
ROPE_THETA = 5_000_000
MROPE_SECTION = [24, 20, 20]
PATCH = 16
MERGE = 2
EPS = 1e-6


@dataclasses.dataclass
class Batch:
    """Samples of one grid. Shapes: S = samples, T = prompt and answer, V = visual tokens a sample, A = longest answer."""
    patches: torch.Tensor        # [S * slices, h * w, 1536], in block order
    grid: tuple[int, int, int]   # slices, h, w in patches
    ids: torch.Tensor            # [S, T]
    positions: torch.Tensor      # [S, 3, T]
    visual_rows: torch.Tensor    # [S * V] rows of the flattened [S * T] that hold visual tokens
    answer_rows: torch.Tensor    # [S * A] rows whose next token is an answer's, padded with any row


def attention(q, k, v, causal):
    """Attention of [batch, heads, tokens, head_dim]."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def rotate(x, cos, sin):
    """Rotary embedding of the last axis, its halves paired; computed in float32."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPS)
        return (self.weight * y).to(x.dtype)


class VisionAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, cos, sin):
        slices, patches, dim = x.shape
        q, k, v = self.qkv(x).view(slices, patches, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = attention(rotate(q, cos, sin), rotate(k, cos, sin), v, causal=False)
        return self.proj(y.transpose(1, 2).reshape(slices, patches, dim))


class VisionMlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.linear_fc1 = nn.Linear(dim, hidden)
        self.linear_fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh"))


class VisionBlock(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.attn = VisionAttention(dim, heads)
        self.mlp = VisionMlp(dim, hidden)

    def forward(self, x, cos, sin):
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class Merger(nn.Module):
    """2x2 patches to one visual token; DeepStack mergers normalise after the four are joined."""

    def __init__(self, dim, out, joined_norm):
        super().__init__()
        self.joined_norm = joined_norm
        wide = dim * MERGE * MERGE
        self.norm = nn.LayerNorm(wide if joined_norm else dim, eps=EPS)
        self.linear_fc1 = nn.Linear(wide, wide)
        self.linear_fc2 = nn.Linear(wide, out)

    def forward(self, x):
        slices, patches, dim = x.shape
        joined = (slices, patches // MERGE**2, dim * MERGE**2)
        x = self.norm(x.reshape(joined)) if self.joined_norm else self.norm(x).reshape(joined)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class PatchEmbed(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Conv3d(3, dim, (2, PATCH, PATCH), (2, PATCH, PATCH))

    def forward(self, patches):
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def block_order(h, w, device):
    """Row and column of each patch, [h * w] each, four of a merged token together."""
    rows, cols = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    view = lambda t: t.view(h // MERGE, MERGE, w // MERGE, MERGE).permute(0, 2, 1, 3).flatten()
    return view(rows), view(cols)


@functools.lru_cache(64)
def vision_tables(h, w, side, head_dim, device):
    """(corners [4, h*w] of the position table, their weights [4, h*w, 1], cos and sin [h*w, head_dim / 2]) of a grid."""
    rows, cols = block_order(h, w, device)
    y = torch.linspace(0, side - 1, h, device=device)[rows]
    x = torch.linspace(0, side - 1, w, device=device)[cols]
    y0, x0 = y.long(), x.long()
    y1, x1 = (y0 + 1).clamp(max=side - 1), (x0 + 1).clamp(max=side - 1)
    dy, dx = y - y0, x - x0
    corners = torch.stack([y0 * side + x0, y0 * side + x1, y1 * side + x0, y1 * side + x1])
    weights = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx])[..., None]
    frequencies = 10000.0 ** (-torch.arange(0, head_dim // 2, 2, device=device).float() / (head_dim // 2))
    angles = torch.cat([rows[:, None] * frequencies, cols[:, None] * frequencies], -1)
    return corners, weights, angles.cos(), angles.sin()


def position_table(side, dim):
    """A start for the position table [side * side, dim]: sines and cosines of the row and of the column, from a quarter of a turn
    over the picture to six turns. From noise the table stays too faint beside the patches to be used."""
    place = torch.linspace(0, 1, side)[:, None] * 2 * math.pi * torch.logspace(math.log10(0.25), math.log10(6), dim // 4)
    waves = torch.cat([place.sin(), place.cos()], -1)
    rows, columns = waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)
    return torch.cat([rows, columns], -1).reshape(side * side, dim)


class Vision(nn.Module):
    def __init__(self, out, hidden_size, depth, num_heads, intermediate_size, num_position_embeddings,
                 deepstack_visual_indexes):
        super().__init__()
        self.side = round(num_position_embeddings**0.5)
        self.head_dim = hidden_size // num_heads
        self.deepstack_visual_indexes = deepstack_visual_indexes
        self.patch_embed = PatchEmbed(hidden_size)
        self.pos_embed = nn.Embedding(num_position_embeddings, hidden_size)
        self.blocks = nn.ModuleList(VisionBlock(hidden_size, num_heads, intermediate_size) for _ in range(depth))
        self.merger = Merger(hidden_size, out, joined_norm=False)
        self.deepstack_merger_list = nn.ModuleList(Merger(hidden_size, out, joined_norm=True)
                                                   for _ in deepstack_visual_indexes)

    def forward(self, patches, grid):
        """Visual tokens [slices, h * w / 4, out] and as many DeepStack features."""
        corners, weights, cos, sin = vision_tables(grid[1], grid[2], self.side, self.head_dim, patches.device)
        x = self.patch_embed(patches)
        x = x + (self.pos_embed(corners) * weights).sum(0).to(x.dtype)
        deepstack = []
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin)
            if i in self.deepstack_visual_indexes:
                deepstack.append(self.deepstack_merger_list[len(deepstack)](x))
        return self.merger(x), deepstack


class TextAttention(nn.Module):
    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.q_proj = nn.Linear(dim, heads * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(dim, kv_heads * HEAD_DIM, bias=False)
        self.v_proj = nn.Linear(dim, kv_heads * HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(heads * HEAD_DIM, dim, bias=False)
        self.q_norm = RMSNorm(HEAD_DIM)
        self.k_norm = RMSNorm(HEAD_DIM)

    def forward(self, x, cos, sin):
        samples, tokens, _ = x.shape
        split = lambda y, heads: y.view(samples, tokens, heads, HEAD_DIM)
        q = rotate(self.q_norm(split(self.q_proj(x), self.heads)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(split(self.k_proj(x), self.kv_heads)).transpose(1, 2), cos, sin)
        v = split(self.v_proj(x), self.kv_heads).transpose(1, 2)
        repeats = self.heads // self.kv_heads
        y = attention(q, k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1), causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(samples, tokens, self.heads * HEAD_DIM))


class TextMlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(dim, hidden, bias=False)
        self.up_proj = nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class TextLayer(nn.Module):
    def __init__(self, dim, heads, kv_heads, hidden):
        super().__init__()
        self.input_layernorm = RMSNorm(dim)
        self.post_attention_layernorm = RMSNorm(dim)
        self.self_attn = TextAttention(dim, heads, kv_heads)
        self.mlp = TextMlp(dim, hidden)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


@functools.lru_cache(4)
def mrope_tables(device):
    """Of each of the head_dim / 2 frequencies: the position axis (time, row, column) that turns it, and itself."""
    axes = torch.zeros(HEAD_DIM // 2, dtype=torch.long)
    for axis in (1, 2):
        axes[axis:3 * MROPE_SECTION[axis]:3] = axis
    frequencies = float(ROPE_THETA) ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    return axes.to(device), frequencies.to(device)


class Text(nn.Module):
    def __init__(self, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, intermediate_size):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB_SIZE, hidden_size)
        self.layers = nn.ModuleList(TextLayer(hidden_size, num_attention_heads, num_key_value_heads, intermediate_size)
                                    for _ in range(num_hidden_layers))
        self.norm = RMSNorm(hidden_size)

    def rope(self, positions):
        """cos and sin [samples, 1, tokens, head_dim / 2] of positions [samples, 3, tokens]."""
        axes, frequencies = mrope_tables(positions.device)
        angles = positions.float()[:, axes].transpose(1, 2) * frequencies
        return angles.cos()[:, None], angles.sin()[:, None]

    def forward(self, batch, visual, deepstack):
        """Hidden states [samples * tokens, hidden], visual tokens put at their rows."""
        samples, tokens = batch.ids.shape
        cos, sin = self.rope(batch.positions)
        x = self.embed_tokens(batch.ids).flatten(0, 1)
        x = x.to(visual.dtype).index_copy(0, batch.visual_rows, visual.flatten(0, 1))
        for i, layer in enumerate(self.layers):
            x = layer(x.view(samples, tokens, -1), cos, sin).flatten(0, 1)
            if i < len(deepstack):
                x = x.index_add(0, batch.visual_rows, deepstack[i].flatten(0, 1).to(x.dtype))
        return x


class Backbone(nn.Module):
    def __init__(self, preset):
        super().__init__()
        self.visual = Vision(preset["text"]["hidden_size"], **preset["vision"])
        self.language_model = Text(**preset["text"])


class DemoModel(nn.Module):
    """Qwen3VLForConditionalGeneration with tied embeddings; its state dict has the published names."""

    def __init__(self, preset):
        super().__init__()
        self.model = Backbone(PRESETS[preset])
        self.apply(self.initialise)
        table = self.model.visual.pos_embed.weight
        table.data = position_table(self.model.visual.side, table.shape[1])

    @staticmethod
    def initialise(module):
        if isinstance(module, (nn.Linear, nn.Embedding, nn.Conv3d)):
            nn.init.normal_(module.weight, std=0.02)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    def forward(self, batch):
        """(logits [samples * A, vocab] of the answers' tokens, visual tokens [slices, h * w / 4, hidden])."""
        visual, deepstack = self.model.visual(batch.patches, batch.grid)
        text = self.model.language_model
        hidden = text.norm(text(batch, visual, deepstack)[batch.answer_rows])
        return F.linear(hidden, text.embed_tokens.weight), visual
