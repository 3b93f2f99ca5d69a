"""Data sets of visual inspection, read from their original layouts."""

from adcli import DatasetSpec, hookimpl
from adcli_datasets import btad, dagm, kolektor, magnetic_tile, mpdd, mvtec_ad, mvtec_ad_2, mvtec_loco, real_iad, visa


@hookimpl
def adcli_datasets() -> list[DatasetSpec]:
    return [
        mvtec_ad.SPEC,
        mvtec_ad_2.SPEC,
        mvtec_loco.SPEC,
        visa.SPEC,
        btad.SPEC,
        mpdd.SPEC,
        kolektor.SPEC,
        kolektor.SPEC2,
        dagm.SPEC,
        real_iad.SPEC,
        magnetic_tile.SPEC,
    ]
