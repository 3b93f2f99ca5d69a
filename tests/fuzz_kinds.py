"""The kinds of input that are mutated, each a function that makes a case of a workspace and a source of chance."""

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from random import Random
from typing import Any

import click
import yaml
from fuzzing import ONNX, OPENVINO, RUN, Case, Said, World, execute
from mutating import VALUES, WORDS, mutate_bytes, mutate_text, mutate_tree
from PIL import Image
from support import draw_part

IMAGE = "parts/test/good/000.png"
MASK = "parts/ground_truth/scratch/000_mask.png"
NOT_PLUGINS = (6,)
"""The exit code for a plugin's fault, of which a photograph or a table is none."""

FORMATS = {
    "png": {},
    "jpg": {"quality": 90},
    "bmp": {},
    "tif": {"compression": "tiff_lzw"},
    "webp": {"lossless": True},
    "gif": {},
    "ppm": {},
    "tga": {},
}


@cache
def photographs() -> tuple[tuple[str, bytes], ...]:
    """Return photographs of each format and of unusual modes, with their suffixes."""
    part = draw_part(7)[0].resize((24, 24))
    made = [(suffix, part, options) for suffix, options in FORMATS.items()]
    modes = ("L", "P", "RGBA", "I;16", "1", "LA")
    made += [("png", (part.convert("L") if mode == "I;16" else part).convert(mode), {}) for mode in modes]
    made += [("tif", part.convert("L").convert("F"), {}), ("jpg", part.convert("CMYK"), {}), ("tif", part, {})]
    turned = part.getexif()
    turned[0x0112] = 6
    made += [("jpg", part, {"exif": turned}), ("tif", part, {"save_all": True, "append_images": [part, part]})]
    return tuple((suffix, _encode(image, suffix, options)) for suffix, image, options in made)


def _encode(image: Image.Image, suffix: str, options: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    names = {"jpg": "JPEG", "tif": "TIFF"}
    image.save(file, names.get(suffix, suffix.upper()), **options)
    return file.getvalue()


def _spoil_photographs(folder: str, count: int, chance: Random) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        suffix, content = chance.choice(photographs())
        files[f"{folder}/{number}.{suffix}"] = mutate_bytes(content, chance)
    return files


def image(world: World, chance: Random) -> Case:
    """Photographs to score."""
    files = _spoil_photographs("images", 10, chance)
    command = chance.choice(
        (
            ("predict", RUN, "images", "--json", "--skip-unreadable"),
            ("predict", RUN, "images", "--format", "csv", "--out", "made", "--overlays", "--masks", "png"),
            ("datasets", "check", "images", "--json"),
            ("preview", "images", "--out", "made/page.html", "--json", "--count", "10"),
            ("evaluate", RUN, "--data", "images", "--name", "fresh", "--json", "--skip-unreadable"),
        )
    )
    return Case([command], files, ("made", RUN), count=10, blames=NOT_PLUGINS)


def mask(world: World, chance: Random) -> Case:
    """A mask, beside photographs that are whole."""
    content = chance.choice((world.read(MASK), chance.choice(photographs())[1]))
    command = chance.choice(
        (
            ("datasets", "check", "parts", "--json"),
            ("evaluate", RUN, "--data", "parts", "--name", "fresh", "--json"),
            ("train", "-m", "dfm", "--data", "parts", "--backbone", "embedded", "--ignore", MASK, "--image-size", "64"),
        )
    )
    return Case([command], {MASK: mutate_bytes(content, chance)}, (RUN, "runs"), blames=NOT_PLUGINS)


def table(world: World, chance: Random) -> Case:
    """A table of photographs."""
    name = chance.choice(("table.csv", "table.jsonl"))
    text = world.read(name).decode()
    if name == "table.jsonl" and chance.random() < 0.7:
        rows = mutate_tree([json.loads(line) for line in text.splitlines()], chance)
        whole = chance.random() < 0.2 or not isinstance(rows, list)
        text = json.dumps(rows, default=str) if whole else "".join(json.dumps(row, default=str) + "\n" for row in rows)
        content = text.encode()
    else:
        content = mutate_text(text, chance)
    command = chance.choice(
        (
            ("datasets", "check", f"table:{name}", "--json"),
            ("evaluate", RUN, "--data", f"table:{name}", "--name", "fresh", "--json", "--skip-unreadable"),
            ("train", "-m", "dfm", "--data", f"table:{name}", "--backbone", "embedded", "--image-size", "64"),
        )
    )
    return Case([command], {name: content}, (RUN, "runs"), blames=NOT_PLUGINS)


def listing(world: World, chance: Random) -> Case:
    """A list of paths on stdin."""
    text = "\n".join(chance.choices((IMAGE, "parts/test/scratch/000.png", *WORDS), k=chance.choice((1, 3, 10)))) + "\n"
    form = chance.choice((("--json",), ("--format", "csv"), ("--format", "jsonl"), ("--fail-on-defect",)))
    command = ("predict", RUN, "-", *form, *chance.choice(((), ("--out", "made"), ("--skip-unreadable",))))
    return Case([command], writes=("made",), stdin=mutate_text(text, chance), blames=NOT_PLUGINS)


def config(world: World, chance: Random) -> Case:
    """A file of settings."""
    content = _spoil_yaml(world.read("config.yaml"), chance)
    return Case([("train", "--config", "config.yaml")], {"config.yaml": content}, ("runs",))


def _spoil_yaml(content: bytes, chance: Random, sealed: bool = False) -> bytes:
    if chance.random() < 0.3 and not sealed:
        return mutate_bytes(content, chance)
    tree = yaml.safe_load(content)
    tree.pop("digest", None)
    changed = mutate_tree(tree, chance)
    return seal(changed) if sealed else _dump(changed)


def _dump(tree: Any) -> bytes:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode(errors="replace")


def seal(tree: Any) -> bytes:
    """Return YAML with a digest that is right, whatever it holds."""
    return seal_text(_dump(tree))


def seal_text(body: bytes) -> bytes:
    return body + f"digest: {hashlib.sha256(body).hexdigest()}\n".encode()


def seal_json(tree: Any) -> bytes:
    """Return a calibration with a digest that is right."""
    if isinstance(tree, dict):
        content = {key: value for key, value in tree.items() if key not in ("digest", "number")}
        try:
            text = json.dumps(content, sort_keys=True)
        except TypeError:
            text = ""
        tree = {**tree, "digest": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(tree, indent=1, default=str).encode()


LOOKING = (
    ("runs", "show", RUN, "--json"),
    ("runs", "show", RUN),
    ("runs", "--dir", "runs", "--json"),
    ("runs", "--dir", "runs"),
    ("evaluate", RUN, "--json"),
    ("report", RUN),
    ("calibrate", RUN, "--list"),
    ("calibrate", RUN, "--false-alarm-rate", "0.3"),
    ("calibrate", RUN, "--data", "parts/test/good"),
    ("compare", RUN, RUN, "--json"),
    ("train", "--config", f"{RUN}/run.yaml"),
    ("runs", "note", RUN, "text"),
    ("runs", "rm", RUN, "--yes"),
)
"""What is done with a run."""


def _predict(folder: str) -> tuple[str, ...]:
    return ("predict", folder, IMAGE, "--json")


def _usual(world: World, folder: str) -> Any:
    """Return what an unchanged run or export says of a photograph."""
    if folder not in world.usual:
        said = execute(_predict(folder))
        assert said.code == 0, said
        world.usual[folder] = json.loads(said.out)
    return world.usual[folder]


def _disagree(usual: Any, sealed: bool, said: Sequence[Said]) -> Iterable[str]:
    """Yield how a changed run or export is another than before, or than it says."""
    if said[0].code:
        return
    (row,), (before,) = json.loads(said[0].out), usual
    if row["score"] is None or not math.isfinite(row["score"]):
        yield f"a score that is none: {row['score']}"
    keys = ("score", "verdict", "threshold", "p_value")
    if not sealed and any(row[key] != before[key] for key in keys):
        yield f"was changed, and unsealed: {row}"
    if len(said) > 1 and said[1].code == 0 and said[1].out.startswith("{"):
        shown = json.loads(said[1].out)
        if "record" in shown and shown["record"].get("weights") != row["model"]:
            yield f"shows {shown['record'].get('weights')}, and predicts with {row['model']}"


def _artefact(world: World, chance: Random, folder: str, files: Mapping[str, bytes], sealed: bool) -> Case:
    usual = _usual(world, folder)
    commands = [_predict(folder)]
    if folder == RUN:
        commands.append(chance.choice(LOOKING))
    else:
        # Which scores, and takes as long as all else.
        slow = ("calibrate", folder, "--data", "parts/test/good")
        commands.append(("calibrate", folder, "--list") if chance.random() < 0.9 else slow)
    writes = (folder, "runs") if folder == RUN else (folder,)
    return Case(commands, files, writes, judge=partial(_disagree, usual, sealed))


def run_file(world: World, chance: Random) -> Case:
    """The file of a run."""
    sealed = chance.random() < 0.7
    content = _spoil_yaml(world.read(f"{RUN}/run.yaml"), chance, sealed)
    if sealed and chance.random() < 0.2:
        body = mutate_bytes(content.rpartition(b"digest: ")[0], chance)
        content = seal_text(body)
    return _artefact(world, chance, RUN, {f"{RUN}/run.yaml": content}, sealed)


def calibration(world: World, chance: Random) -> Case:
    """The calibration of a run."""
    sealed = chance.random() < 0.7
    name = chance.choice(("calibration.json",) * 3 + ("calibrations/0001.json",))
    before = world.read(f"{RUN}/{name}")
    content = seal_json(mutate_tree(json.loads(before), chance)) if sealed else mutate_bytes(before, chance)
    return _artefact(world, chance, RUN, {f"{RUN}/{name}": content}, sealed or name != "calibration.json")


def results(world: World, chance: Random) -> Case:
    """What an evaluation left, which has no digest."""
    name = chance.choice(("metrics.json", "scores.csv", "images.csv", "note.txt", "log.txt"))
    path = chance.choice((f"{RUN}/{name}", f"{RUN}/evaluations/test/{name}"))
    before = b"a note" if name == "note.txt" else world.read(f"{RUN}/{name}")
    if name == "metrics.json" and chance.random() < 0.6:
        content = json.dumps(mutate_tree(json.loads(before), chance), default=str).encode()
    else:
        content = chance.choice((mutate_bytes(before, chance), mutate_text(before.decode(), chance)))
    return _artefact(world, chance, RUN, {path: content}, sealed=False)


def weights(world: World, chance: Random) -> Case:
    """The weights of a run, with a digest that is right or not."""
    content = mutate_safetensors(world.read(f"{RUN}/model.safetensors"), chance)
    files = {f"{RUN}/model.safetensors": content}
    sealed = chance.random() < 0.7
    if sealed:
        digest = hashlib.sha256(content).hexdigest()
        tree = yaml.safe_load(world.read(f"{RUN}/run.yaml"))
        del tree["digest"]
        tree["record"]["weights"] = digest
        stored = {**json.loads(world.read(f"{RUN}/calibration.json")), "weights": digest}
        files |= {f"{RUN}/run.yaml": seal(tree), f"{RUN}/calibration.json": seal_json(stored)}
    return _artefact(world, chance, RUN, files, sealed)


def mutate_safetensors(content: bytes, chance: Random) -> bytes:
    """Change the header as a tree or as bytes, or the values."""
    length = int.from_bytes(content[:8], "little")
    header, values = content[8 : 8 + length], content[8 + length :]
    if chance.random() < 0.3:
        return content[:8] + mutate_bytes(header, chance) + values
    if chance.random() < 0.3:
        return content[: 8 + length] + mutate_bytes(values, chance)
    changed = json.dumps(mutate_tree(json.loads(header), chance), default=str).encode()
    return len(changed).to_bytes(8, "little") + changed + values


def backbone(world: World, chance: Random) -> Case:
    """A file of a backbone's weights."""
    import numpy as np
    from safetensors.numpy import save

    content = save({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32), "bn1.bias": np.zeros(64, np.float32)})
    files = {"weights.safetensors": mutate_safetensors(content, chance)}
    options = ("--backbone", "timm:resnet18", "-o", "weights=weights.safetensors", "--image-size", "32")
    return Case([("train", "-m", "dfm", "--data", "parts", *options)], files, ("runs",))


def _export(world: World, chance: Random, folder: str, graphs: Sequence[str]) -> Case:
    manifest = f"{folder}/manifest.yaml"
    sealed = chance.random() < 0.7
    part = chance.random()
    if part < 0.4:
        files = {manifest: _spoil_yaml(world.read(manifest), chance, sealed)}
        return _artefact(world, chance, folder, files, sealed)
    if part < 0.6:
        name = "calibration.json"
        before = world.read(f"{folder}/{name}")
        content = seal_json(mutate_tree(json.loads(before), chance)) if sealed else mutate_bytes(before, chance)
    else:
        name = chance.choice(graphs)
        content = mutate_bytes(world.read(f"{folder}/{name}"), chance)
    files = {f"{folder}/{name}": content}
    if sealed:
        tree = yaml.safe_load(world.read(manifest))
        del tree["digest"]
        tree["files"][name] = hashlib.sha256(content).hexdigest()
        files[manifest] = seal(tree)
    return _artefact(world, chance, folder, files, sealed)


def onnx(world: World, chance: Random) -> Case:
    """An export to ONNX."""
    return _export(world, chance, ONNX, ["done/1/model.onnx", "fitted.txt"])


def openvino(world: World, chance: Random) -> Case:
    """An export to OpenVINO."""
    return _export(world, chance, OPENVINO, ["done/1/model.xml", "done/1/model.bin", "fitted.txt"])


def commands(root: click.Group, path: Sequence[str] = ()) -> Iterable[tuple[tuple[str, ...], click.Command]]:
    """Yield every command by its words."""
    for name in root.list_commands(click.Context(root)):
        found = root.get_command(click.Context(root), name)
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        if found is not None:
            yield (*path, name), found


@cache
def _listed() -> list[tuple[tuple[str, ...], click.Command]]:
    from adcli.cli import cli

    return list(commands(cli))


RIGHT = {
    "run": (RUN, ONNX, "last"),
    "runs": (RUN, "last"),
    "names": (RUN,),
    "paths": ("parts/test/good", IMAGE, "-", "*.txt"),
    "data": ("parts", "table:table.csv"),
    "model": ("padim", "dfm"),
    "out": ("made",),
    "to": ("onnx",),
    "name": ("padim", "sample", "test"),
    "backbone": ("embedded",),
    "image_size": ("32",),
    "config": ("config.yaml",),
    "folder": ("runs", "."),
}
"""What makes sense as the value of a parameter."""


def command_line(world: World, chance: Random) -> Case:
    """A command with options and values that fit, or do not."""
    words, found = chance.choice(_listed())
    arguments = list(words)
    for parameter in found.params:
        operand = isinstance(parameter, click.Argument)
        if operand or chance.random() < (0.6 if parameter.required else 0.25):
            arguments += _give(parameter, chance)
    if chance.random() < 0.3:
        at = chance.randrange(len(arguments))
        arguments[at] = chance.choice((chance.choice(WORDS), arguments[at] + chance.choice(WORDS), arguments[at][:-1]))
    arguments = [argument.replace("\0", "") for argument in arguments]
    named = [word for argument in arguments for word in (argument, argument.partition("=")[2]) if word]
    return Case([arguments], writes=_places(named), stdin=chance.choice((b"", chance.randbytes(100), IMAGE.encode())))


def _give(parameter: click.Parameter, chance: Random) -> list[str]:
    values: list[str] = []
    for _ in range(chance.choice((1, 1, 2)) if parameter.nargs == -1 else 1):
        right = RIGHT.get(str(parameter.name))
        if getattr(parameter, "multiple", False):
            right = ("layers=1", "backbone=embedded", "root=parts")
        good = right is not None and chance.random() < 0.7
        values.append(chance.choice(right) if good and right else str(chance.choice((*WORDS, *map(str, VALUES)))))
    if isinstance(parameter, click.Argument):
        return values
    name = chance.choice(parameter.opts)
    if getattr(parameter, "is_flag", False):
        return [name]
    return [f"{name}={values[0]}"] if name.startswith("--") and chance.random() < 0.2 else [name, values[0]]


def _places(named: Sequence[str]) -> list[str]:
    """Return where a command with these words may write."""
    plain = [word for word in named if len(word) < 300 and word not in (".", "..", "/", "../..")]
    # A run is made beside the place where it will be.
    making = {word.rpartition("/")[0] + "/.partial" if "/" in word else ".partial" for word in plain}
    return ["runs", "adcli-*", ".adcli-adcli-*", *plain, *sorted(making)]


KINDS: dict[str, Callable[[World, Random], Case]] = {
    "image": image,
    "mask": mask,
    "table": table,
    "list": listing,
    "config": config,
    "run": run_file,
    "calibration": calibration,
    "results": results,
    "weights": weights,
    "backbone": backbone,
    "onnx": onnx,
    "openvino": openvino,
    "command": command_line,
}
"""Every kind, by its name."""
