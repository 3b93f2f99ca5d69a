"""Train the weights of adcli-embedded: distil feature maps of larger networks into a ResNet-18 on photographs.

    python tools/train.py --photographs DIR --teacher mobilenetv2_100.ra_in1k --teacher FILE.py:CLASS --out DIR

The learning rate warms up, stays, and in the last ``--settle`` steps falls to zero while the crops grow. Until then
nothing depends on ``--steps``: a run that was stopped goes on with the same command, or, with a smaller ``--steps``,
ends sooner, as if that had been asked for at the start.
"""

import argparse
import json
import time
from pathlib import Path

import timm
import torch
from photographs import Crops, centre_crop, find_photographs
from safetensors.torch import load_file, save_file
from teachers import Target, Teacher
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Subset

STRIDES = (4, 8, 16, 32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOG_EVERY, CHECK_EVERY = 50, 250
HELD_OUT_SIZE = 192


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of images, searched in depth")
    parser.add_argument("--teacher", action="append", required=True, help="timm name or FILE.py:CLASS; repeatable")
    parser.add_argument("--out", type=Path, required=True, help="folder for log, checkpoint and weights")
    parser.add_argument("--start", type=Path, help="safetensors of a resnet18 to go on from; else random")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--settle", type=int, default=600, help="steps at the end in which the rate falls")
    parser.add_argument("--warm-up", type=int, default=300, help="steps in which the student's rate rises")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--crop", type=int, default=128, help="side of a crop, in pixels")
    parser.add_argument("--late-crop", type=int, default=160, help="the same while settling")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--relations", type=float, default=3.0, help="weight of the relation loss")
    parser.add_argument("--logits", type=float, default=0.5, help="weight of the divergence of the logits")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the weights' moving average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="compile the teachers: a quarter faster")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.steps <= arguments.settle:
        parser.error(f"--steps {arguments.steps} must be more than --settle {arguments.settle}")
    return arguments


class Student(nn.Module):
    """The network that is kept, with its classifier while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model("resnet18", pretrained=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Return the maps of layer1 to layer4 by stride, and the logits."""
        last, maps = self.network.forward_intermediates((images - self.mean) / self.std, indices=[1, 2, 3, 4])
        return dict(zip(STRIDES, maps, strict=True)), self.network.forward_head(last)


def load_start(network: nn.Module, path: Path) -> None:
    """Load weights with or without a classifier; the packaged ones have none, and a new one then learns."""
    missing, unknown = network.load_state_dict(load_file(path), strict=False)
    if unknown or any(not name.startswith("fc.") for name in missing):
        raise SystemExit(f"--start {path}: these are not the weights of timm's resnet18")


class Distillation(nn.Module):
    """The student, and everything that is thrown away after training."""

    def __init__(self, student: Student, teachers: list[Teacher], relations: float, logits: float) -> None:
        super().__init__()
        self.student, self.relations, self.logits = student, relations, logits
        widths = {4: 64, 8: 128, 16: 256, 32: 512}
        probe = torch.zeros(1, 3, 64, 64, device=next(teachers[0].buffers()).device)
        self.targets = nn.ModuleDict(
            {
                f"{i}_{stride}": Target(widths[stride], lesson.shape[1])
                for i, teacher in enumerate(teachers)
                for stride, lesson in teacher(probe).maps.items()
                if stride in widths
            }
        )

    def forward(self, images: Tensor, teachers: list[Teacher]) -> dict[str, Tensor]:
        """Return the parts of the loss, ``loss`` being what is minimised."""
        maps, logits = self.student(images)
        errors, relations, divergence = [], [], images.new_zeros(())
        for i, teacher in enumerate(teachers):
            lesson = teacher(images)
            for stride in STRIDES:
                if f"{i}_{stride}" in self.targets:
                    error, relation = self.targets[f"{i}_{stride}"](maps[stride], lesson.maps[stride])
                    errors.append(error)
                    relations.append(relation)
            if lesson.logits is not None and lesson.logits.shape == logits.shape:
                log_odds = [F.log_softmax(part, dim=1) for part in (logits, lesson.logits)]
                divergence = divergence + F.kl_div(*log_odds, reduction="batchmean", log_target=True)
        parts = {"maps": torch.stack(errors).mean(), "relations": torch.stack(relations).mean(), "logits": divergence}
        loss = len(STRIDES) * (parts["maps"] + self.relations * parts["relations"]) + self.logits * divergence
        return {"loss": loss, **parts}


class Training:
    """The state that a checkpoint holds."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.step = arguments, 0
        torch.manual_seed(arguments.seed)
        self.teachers = [Teacher(name).to(arguments.device) for name in arguments.teacher]
        if arguments.compile:
            for teacher in self.teachers:
                teacher.compile()
        student = Student()
        if arguments.start:
            load_start(student.network, arguments.start)
        self.model = Distillation(student, self.teachers, arguments.relations, arguments.logits).to(arguments.device)
        self.model.to(memory_format=torch.channels_last)
        decay = get_ema_multi_avg_fn(arguments.average)
        self.average = AveragedModel(self.model, multi_avg_fn=decay, use_buffers=False)
        groups = [{"params": part.parameters()} for part in (self.model.student, self.model.targets)]
        self.optimiser = torch.optim.AdamW(groups, arguments.rate, weight_decay=arguments.weight_decay)
        self.checkpoint = arguments.out / "checkpoint.pt"
        if self.checkpoint.exists():
            self.load()

    def rate(self) -> float:
        """Return the adapters' learning rate of the present step."""
        return float(self.arguments.rate * min(1.0, (self.arguments.steps - self.step) / self.arguments.settle))

    def warmth(self) -> float:
        """Return the student's share of that rate: random adapters must not undo what the student knows already."""
        return float(min(1.0, (self.step + 1) / self.arguments.warm_up) ** 2)

    def update(self, crops: Tensor) -> dict[str, float]:
        """Make one step with crops (N, 3, S, S) uint8; return the parts of the loss."""
        for group, share in zip(self.optimiser.param_groups, (self.warmth(), 1.0), strict=True):
            group["lr"] = self.rate() * share
        images = crops.to(self.arguments.device, memory_format=torch.channels_last).float() / 255
        parts = self.model.train()(images, self.teachers)
        self.optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        # Running means and target statistics are averages already.
        for kept, buffer in zip(self.average.module.buffers(), self.model.buffers(), strict=True):
            kept.copy_(buffer)
        self.step += 1
        return {name: part.item() for name, part in parts.items()}

    @torch.no_grad()
    def held_out(self, paths: list[Path]) -> dict[str, float]:
        """Return the averaged student's mean loss on photographs that are never trained on."""
        sums: dict[str, float] = {}
        model = self.average.module.eval()
        for start in range(0, len(paths), 25):
            crops = torch.stack([centre_crop(path, HELD_OUT_SIZE) for path in paths[start : start + 25]])
            for name, part in model(crops.to(self.arguments.device).float() / 255, self.teachers).items():
                sums[name] = sums.get(name, 0.0) + float(part) * len(crops) / len(paths)
        return {f"held_out_{name}": value for name, value in sums.items()}

    def save(self) -> None:
        """Write the checkpoint and the averaged student."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, self.checkpoint.with_suffix(".partial"))
        self.checkpoint.with_suffix(".partial").replace(self.checkpoint)
        network = self.average.module.student.network.state_dict()
        weights = {name: tensor.cpu() for name, tensor in network.items() if not name.startswith("fc.")}
        half = {name: t.half().contiguous() if t.is_floating_point() else t for name, t in weights.items()}
        save_file(half, self.arguments.out / "resnet18.safetensors")

    def load(self) -> None:
        """Go on from the checkpoint."""
        state = torch.load(self.checkpoint, map_location=self.arguments.device, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def crop_batches(training: Training, paths: list[Path]) -> DataLoader[Tensor]:
    """Return the batches that are still to come."""
    arguments = training.arguments
    early, late = arguments.steps - arguments.settle, arguments.settle
    sizes = [arguments.crop] * early * arguments.batch_size + [arguments.late_crop] * late * arguments.batch_size
    crops = Crops(paths, sizes, arguments.seed)
    rest = Subset(crops, range(training.step * arguments.batch_size, len(crops)))
    return DataLoader(rest, arguments.batch_size, num_workers=1, prefetch_factor=4)


def main() -> None:
    """Train until ``--steps``."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths, held_out = find_photographs(arguments.photographs)
    training, since, sums = Training(arguments), time.monotonic(), dict[str, float]()
    with (arguments.out / "log.jsonl").open("a") as log:
        for crops in crop_batches(training, paths):
            for name, part in training.update(crops).items():
                sums[name] = sums.get(name, 0.0) + part / LOG_EVERY
            if training.step % LOG_EVERY:
                continue
            record = {"step": training.step, "seconds": time.monotonic() - since, "rate": training.rate(), **sums}
            if training.step % CHECK_EVERY == 0 or training.step == arguments.steps:
                record |= training.held_out(held_out)
                training.save()
            print(json.dumps(record), file=log, flush=True)
            sums.clear()
    training.save()


if __name__ == "__main__":
    main()
