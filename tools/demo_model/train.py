"""Trains the demo model for a given time.

    python3 -m demo_model.train --tokenizer models/demo/tokenizer.json --out FOLDER --seconds 1000 [--resume FILE]

FOLDER gets ema.safetensors, the averaged weights in BF16 under the published names, every minute and at the end, and log.jsonl.
--resume starts from such a file. Samples come from worker processes that render all the time (DEMO_FONTS says where fonts are);
while a fresh batch is being rendered, older ones are used again, up to four times in all and under different noise. The learning
rate and the auxiliary loss, whose head always starts anew, follow the clock.
"""
import argparse
import collections
import copy
import json
import math
import pathlib
import queue
import random
import threading
import time

import torch
import torch.nn.functional as F

from demo_model import batches, cells, model, samples, weights

PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 1.5e-3, 1e-5, 300
EMA_DECAY = 0.999
BLANK_WEIGHT = 0.05              # of cells without a character or shape in the auxiliary loss
POOL = 160                       # batches kept for further use
USES = 4


def shares(text):
    """{slot: share} of the option --mix."""
    given = {name: float(share) for name, share in (part.split("=") for part in text.split(","))}
    rest = given.pop("others", 0.0)
    others = {slot: weight for slot, weight in samples.SLOTS.items() if slot not in given}
    return given | {slot: rest * weight / sum(others.values()) for slot, weight in others.items()}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--resume", type=pathlib.Path)
    parser.add_argument("--waves", type=float, default=0, help="with --resume: add the waves that a position table starts with, "
                        "times this, to the table")
    parser.add_argument("--peak-rate", type=float, default=PEAK_RATE, help="of learning")
    parser.add_argument("--mix", type=shares, help="shares of the kinds of sample, such as shapes=50,clips=10,others=40; others "
                        "is divided as samples.SLOTS is")
    parser.add_argument("--preset", default="demo-13M", choices=model.PRESETS)
    parser.add_argument("--workers", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--report-seconds", type=float, default=45)
    parser.add_argument("--validation-samples", type=int, default=64, help="of each slot")
    return parser.parse_args()


def disturbed(frames):
    """Brightness, contrast and noise of each sample changed at random; uint8 values as float."""
    one = lambda low, high: torch.empty(len(frames), 1, 1, 1, 1, device=frames.device).uniform_(low, high)
    x = frames.float()
    x = (x - 128) * one(0.8, 1.15) + 128 + one(-20, 20)
    x = x + torch.randn_like(x) * one(0, 3.5).square()
    return x.round().clamp(0, 255)


def patchify(frames):
    """Rows of the vision tower [samples * slices, patches, 1536] of frames [samples, t, h, w, 3], and the grid."""
    if frames.shape[1] == 1:
        frames = frames.expand(-1, 2, -1, -1, -1)
    samples, t, h, w, _ = frames.shape
    x = (frames.float() - 127.5) / 127.5
    x = x.view(samples, t // 2, 2, h // 32, 2, 16, w // 32, 2, 16, 3).permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8)
    return x.reshape(samples * t // 2, h * w // 256, 1536), (t // 2, h // 16, w // 16)


def model_batch(tensors, frames):
    patches, grid = patchify(frames)
    return model.Batch(patches, grid, tensors["ids"], tensors["positions"], tensors["visual_rows"], tensors["answer_rows"])


class Feed:
    """Batches on the device. While a fresh one is being rendered, an older one is used again."""

    def __init__(self, loader, device):
        self.queue = queue.Queue(4)
        self.pool = []
        self.rendered = 0
        self.choose = random.Random(0)
        threading.Thread(target=self.fill, args=(loader, device), daemon=True).start()

    def fill(self, loader, device):
        for batch in loader:
            self.queue.put({name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()})

    def next(self):
        if self.queue.empty() and self.pool:
            i = self.choose.randrange(len(self.pool))
            batch, uses = self.pool.pop(i)
        else:
            batch, uses = self.queue.get(), 0
            self.rendered += len(batch["frames"])
        if uses + 1 < USES and len(self.pool) < POOL:
            self.pool.append((batch, uses + 1))
        return batch


def losses(net, head, batch):
    """(answer loss, auxiliary loss) of a batch."""
    logits, visual = net(model_batch(batch, disturbed(batch["frames"])))
    answer = F.cross_entropy(logits.float(), batch["labels"])
    asked = batch["cells"].flatten()
    scores = head(visual).float().view(-1, cells.CLASSES)
    weight = torch.where(asked > cells.BLANK, 1.0, BLANK_WEIGHT) * (asked >= 0)
    return answer, (F.cross_entropy(scores, asked, reduction="none") * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def exact_match(net, validation, device):
    """Share of validation answers of each slot that greedy decoding would give."""
    right, total = collections.Counter(), collections.Counter()
    for slots, batch in validation:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device, torch.bfloat16):
            logits, _ = net(model_batch(batch, batch["frames"].float()))
        ok = ((logits.argmax(-1) == batch["labels"]) | (batch["labels"] < 0)).view(len(slots), -1).all(1)
        for slot, good in zip(slots, ok.tolist()):
            right[slot] += good
            total[slot] += 1
    return {slot: round(right[slot] / total[slot], 3) for slot in sorted(total)}


def optimizer_of(net, head):
    plain = [p for name, p in net.named_parameters() if p.dim() > 1 and "embed" not in name]
    rest = [p for name, p in net.named_parameters() if p.dim() == 1 or "embed" in name]
    groups = [{"params": plain, "weight_decay": 0.05}, {"params": rest + list(head.parameters()), "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=next(net.parameters()).is_cuda)


def learning_rate(peak, step, progress):
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (LAST_RATE + (peak - LAST_RATE) * cosine)


def auxiliary_weight(progress):
    """1 at the start, 0.3 half way, 0 from 85 % on."""
    return max(0.0, 1 - 1.4 * progress if progress < 0.5 else 0.3 * (0.85 - progress) / 0.35)


class Run:
    def __init__(self, args):
        torch.manual_seed(args.seed)
        torch.backends.cuda.matmul.allow_tf32 = True
        self.args, self.device = args, args.device
        self.net = model.DemoModel(args.preset)
        if args.resume:
            self.net.load_state_dict({name: tensor.float() for name, tensor in weights.load(args.resume).items()})
            vision = self.net.model.visual
            vision.pos_embed.weight.data += args.waves * model.position_table(vision.side, vision.pos_embed.embedding_dim)
        self.net.to(self.device)
        hidden = self.net.model.language_model.embed_tokens.embedding_dim
        self.head = torch.nn.Linear(hidden, cells.LABELS * cells.CLASSES).to(self.device)
        torch.nn.init.zeros_(self.head.weight)       # disturbs nothing that is resumed
        self.ema = copy.deepcopy(self.net).eval()
        self.optimizer = optimizer_of(self.net, self.head)
        self.trained = self.step = 0
        if args.compile:
            for block in [*self.net.model.visual.blocks, *self.net.model.language_model.layers]:
                block.compile(dynamic=True)

    def train_step(self, batch, progress):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.args.peak_rate, self.step, progress)
        with torch.autocast(self.device, torch.bfloat16):
            answer, auxiliary = losses(self.net, self.head, batch)
            loss = answer + auxiliary_weight(progress) * auxiliary
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        keep = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_mul_(list(self.ema.parameters()), keep)
            torch._foreach_add_(list(self.ema.parameters()), list(self.net.parameters()), alpha=1 - keep)
        self.step += 1
        self.trained += len(batch["frames"])
        return answer, auxiliary

    def save(self):
        weights.save(self.args.out / "ema.safetensors", {n: t.to(torch.bfloat16) for n, t in self.ema.state_dict().items()})

    def report(self, elapsed, rendered, answer, auxiliary, validation):
        record = {"seconds": round(elapsed), "step": self.step, "trained": self.trained, "rendered": rendered,
                  "answer_loss": round(answer.item(), 4), "auxiliary_loss": round(auxiliary.item(), 4),
                  "exact_match": exact_match(self.ema, validation, self.device)}
        print(json.dumps(record), flush=True)
        with (self.args.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    progress = batches.Progress(time.time(), args.seconds)
    data = batches.SampleBatches(args.tokenizer, progress, args.seed, args.mix)
    loader = iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=args.workers, prefetch_factor=2,
                                              pin_memory=args.device == "cuda"))
    validation = list(batches.validation_batches(batches.bpe.Tokenizer(args.tokenizer), args.validation_samples))
    run = Run(args)
    feed = Feed(loader, args.device)
    print("parameters", sum(p.numel() for p in run.net.parameters()), flush=True)
    next_report = args.report_seconds
    while True:
        elapsed = time.time() - progress.start
        answer, auxiliary = run.train_step(feed.next(), progress.now())
        if elapsed > next_report or elapsed > args.seconds:
            run.save()
            run.report(elapsed, feed.rendered, answer, auxiliary, validation)
            next_report += args.report_seconds
        if elapsed > args.seconds:
            break


if __name__ == "__main__":
    main()
