"""Small data sets in the original layouts: what an archive of each unpacks to, with a few images of 32 x 32."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from zlib import crc32

from PIL import Image

from adcli.data import Splits
from adcli_datasets import adcli_datasets

SIZE = (32, 32)
SPECS = {spec.name: spec for spec in adcli_datasets()}


def image(path: Path) -> None:
    """Write a picture that differs from all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = crc32(path.as_posix().encode()) & 0xFFFFFF
    picture = Image.new("RGB", SIZE, (shade >> 16, shade >> 8 & 255, shade & 255))
    picture.paste((255, 255, 255), (shade % 20, shade % 17, shade % 20 + 7, shade % 17 + 5))
    picture.save(path)


def mask(path: Path, *, box: tuple[int, int, int, int] | None = (4, 4, 12, 10), value: int = 255) -> None:
    """Write a mask with a marked box, or an empty one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    marked = Image.new("L", SIZE)
    if box is not None:
        marked.paste(value, box)
    marked.save(path)


def read(reference: str, root: Path | None, **options: object) -> Splits:
    """Read NAME or NAME:CATEGORY from a folder, or from that which ADCLI_DATA names."""
    name, _, category = reference.partition(":")
    module, _, function = SPECS[name].target.partition(":")
    load = getattr(import_module(module), function)
    parsed = SPECS[name].options.parse({**options, **({} if root is None else {"root": str(root)})})
    splits = load(parsed, category or None)
    assert isinstance(splits, Splits)
    return splits


def categories(name: str) -> tuple[str, ...]:
    return SPECS[name].categories


def mvtec(folder: Path, kinds: tuple[str, ...], suffix: str = "_mask") -> None:
    """Write a category as MVTec AD and MPDD have it: 4 to train on, 2 good ones and 2 of each kind to test."""
    for number in range(4):
        image(folder / f"train/good/{number:03}.png")
    for number in range(2):
        image(folder / f"test/good/{number:03}.png")
        for kind in kinds:
            image(folder / f"test/{kind}/{number:03}.png")
            mask(folder / f"ground_truth/{kind}/{number:03}{suffix}.png")


def mvtec_ad(folder: Path) -> Mapping[str, object]:
    for category in categories("mvtec_ad"):
        mvtec(folder / category, ("broken_large", "combined"))
        (folder / category / "license.txt").write_text("x")
    return {"root": folder}


def mpdd(folder: Path) -> Mapping[str, object]:
    for category in categories("mpdd"):
        mvtec(folder / category, ("hole", "scratches"))
    return {"root": folder}


def mvtec_ad_2(folder: Path) -> Mapping[str, object]:
    for category in categories("mvtec_ad_2"):
        place = folder / category
        for number in range(3):
            image(place / f"train/good/{number:03}_regular.png")
            image(place / f"test_private/{number:03}_regular.png")
            image(place / f"test_private_mixed/{number:03}_mixed.png")
        for number in range(2):
            image(place / f"validation/good/{number:03}_regular.png")
            image(place / f"test_public/good/{number:03}_overexposed.png")
            image(place / f"test_public/bad/{number:03}_regular.png")
            mask(place / f"test_public/ground_truth/bad/{number:03}_regular_mask.png")
    return {"root": folder}


def mvtec_loco(folder: Path) -> Mapping[str, object]:
    for category in categories("mvtec_loco"):
        place = folder / category
        (place / "defects_config.json").parent.mkdir(parents=True)
        (place / "defects_config.json").write_text("[]")
        for number in range(2):
            for part in ("train", "validation", "test"):
                image(place / f"{part}/good/{number:03}.png")
            for kind in ("logical_anomalies", "structural_anomalies"):
                image(place / f"test/{kind}/{number:03}.png")
                mask(place / f"ground_truth/{kind}/{number:03}/000.png", value=249)
        mask(place / "ground_truth/logical_anomalies/001/001.png", box=(20, 20, 30, 28), value=246)
    return {"root": folder}


def visa(folder: Path) -> Mapping[str, object]:
    lines = ["object,split,label,image,mask"]
    for category in categories("visa"):
        data = f"{category}/Data"
        for number in range(4):
            image(folder / f"{data}/Images/Normal/{number:04}.JPG")
            split = "test" if number == 3 else "train"
            lines.append(f"{category},{split},normal,{data}/Images/Normal/{number:04}.JPG,")
        for number in range(2):
            image(folder / f"{data}/Images/Anomaly/{number:03}.JPG")
            mask(folder / f"{data}/Masks/Anomaly/{number:03}.png", value=number + 1)
            masked = f"{data}/Masks/Anomaly/{number:03}.png"
            lines.append(f"{category},test,anomaly,{data}/Images/Anomaly/{number:03}.JPG,{masked}")
    (folder / "split_csv").mkdir()
    (folder / "split_csv/1cls.csv").write_text("\n".join(lines) + "\n")
    return {"root": folder}


def btad(folder: Path) -> Mapping[str, object]:
    for category, pictures, masks in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for number in range(3):
            image(folder / f"{category}/train/ok/{number:04}.{pictures}")
        for number in range(2):
            image(folder / f"{category}/test/ok/{number:04}.{pictures}")
            image(folder / f"{category}/test/ko/{number:04}.{pictures}")
            mask(folder / f"{category}/ground_truth/ko/{number:04}.{masks}")
    return {"root": folder}


def kolektor_sdd(folder: Path) -> Mapping[str, object]:
    """Write five items of two photographs, the first of items 1, 2 and 4 with a defect."""
    for item in range(1, 6):
        for part in range(2):
            image(folder / f"kos{item:02}/Part{part}.jpg")
            defective = part == 0 and item in (1, 2, 4)
            mask(folder / f"kos{item:02}/Part{part}_label.bmp", box=(4, 4, 12, 10) if defective else None)
    return {"root": folder}


def kolektor_sdd2(folder: Path) -> Mapping[str, object]:
    """Write four images of each split, the last of each with a defect."""
    for split, first in (("train", 10000), ("test", 20000)):
        for number in range(4):
            image(folder / f"{split}/{first + number}.png")
            mask(folder / f"{split}/{first + number}_GT.png", box=(4, 4, 12, 10) if number == 3 else None)
    return {"root": folder}


def dagm(folder: Path) -> Mapping[str, object]:
    """Write four images of each split, the last of each with a defect."""
    for category in categories("dagm"):
        for split in ("Train", "Test"):
            rows = ["1"]
            for number in range(1, 5):
                image(folder / f"{category}/{split}/{number:04}.PNG")
                labelled = (
                    f"1\t{number:04}.PNG\t0\t{number:04}_label.PNG" if number == 4 else f"0\t{number:04}.PNG\t0\t0"
                )
                rows.append(f"{number}\t{labelled}")
            mask(folder / f"{category}/{split}/Label/0004_label.PNG")
            (folder / f"{category}/{split}/Label/Labels.txt").write_text("\n".join(rows) + "\n")
    return {"root": folder}


def real_iad(folder: Path) -> Mapping[str, object]:
    """Write a good item and a scratched one, each from two views, for training and for testing."""
    for category in categories("real_iad"):
        tables: dict[str, dict[str, list[dict[str, str | None]]]] = {}
        for part, number in (("train", 1), ("test", 2)):
            for view in ("C1", "C2"):
                fine = f"OK/S{number:04}/{category}_{number:04}_OK_{view}_20231021160112.jpg"
                image(folder / f"realiad_1024/{category}/{fine}")
                tables.setdefault("all", {"train": [], "test": []})[part].append(row(category, "OK", fine, None))
        for view in ("C1", "C2"):
            worn = f"NG/HS/S0003/{category}_0003_NG_HS_{view}_20231023111538"
            image(folder / f"realiad_1024/{category}/{worn}.jpg")
            mask(folder / f"realiad_1024/{category}/{worn}.png")
            tables["all"]["test"].append(row(category, "HS", f"{worn}.jpg", f"{worn}.png"))
        noisy = {"train": tables["all"]["train"] + tables["all"]["test"][2:3], "test": tables["all"]["test"][:2]}
        noisy["test"].append(tables["all"]["test"][3])
        single = {
            part: [entry for entry in rows if "_C1_" in str(entry["image_path"])]
            for part, rows in tables["all"].items()
        }
        for name, table in (("", tables["all"]), ("_sv", single), ("_fuiad_0.4", noisy)):
            place = folder / f"realiad_jsons/realiad_jsons{name}"
            place.mkdir(parents=True, exist_ok=True)
            meta = {"prefix": f"{category}/", "normal_class": "OK"}
            (place / f"{category}.json").write_text(json.dumps({"meta": meta, **table}))
    return {"root": folder}


def row(category: str, kind: str, path: str, masked: str | None) -> dict[str, str | None]:
    return {"category": category, "anomaly_class": kind, "image_path": path, "mask_path": masked}


def magnetic_tile(folder: Path) -> Mapping[str, object]:
    """Write 40 good tiles and two of each kind of defect."""
    for number in range(40):
        image(folder / f"MT_Free/Imgs/exp1_num_{number}.jpg")
        mask(folder / f"MT_Free/Imgs/exp1_num_{number}.png", box=None)
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        for number in range(2):
            image(folder / f"MT_{kind}/Imgs/exp2_num_{number}.jpg")
            mask(folder / f"MT_{kind}/Imgs/exp2_num_{number}.png")
    return {"root": folder}


WRITERS = {
    write.__name__: write
    for write in (
        mvtec_ad,
        mvtec_ad_2,
        mvtec_loco,
        visa,
        btad,
        mpdd,
        kolektor_sdd,
        kolektor_sdd2,
        dagm,
        real_iad,
        magnetic_tile,
    )
}
"""What writes each data set, by name."""

ARCHIVE_NAMES = {
    "mvtec_ad": "mvtec_anomaly_detection",
    "mvtec_ad_2": "mvtec_ad_2",
    "mvtec_loco": "mvtec_loco_anomaly_detection",
    "visa": "VisA",
    "btad": "BTech_Dataset_transformed",
    "mpdd": "MPDD",
    "kolektor_sdd": "KolektorSDD",
    "kolektor_sdd2": "KolektorSDD2",
    "dagm": "DAGM2007",
    "real_iad": "Real-IAD",
    "magnetic_tile": "Magnetic-tile-defect-datasets.-master",
}
"""The folder that each archive unpacks to."""
