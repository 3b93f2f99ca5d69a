"""Every data set keeps every rule for data sets."""

from dataset_trees import (
    btad,
    dagm,
    kolektor_sdd,
    kolektor_sdd2,
    magnetic_tile,
    mpdd,
    mvtec_ad,
    mvtec_ad_2,
    mvtec_loco,
    real_iad,
    visa,
)

from adcli.testing import Check, conformance


@conformance("mvtec_ad", kind="dataset", write_images=mvtec_ad)
def test_mvtec_ad_conforms(check: Check) -> None:
    check()


@conformance("mvtec_ad_2", kind="dataset", write_images=mvtec_ad_2)
def test_mvtec_ad_2_conforms(check: Check) -> None:
    check()


@conformance("mvtec_loco", kind="dataset", write_images=mvtec_loco)
def test_mvtec_loco_conforms(check: Check) -> None:
    check()


@conformance("visa", kind="dataset", write_images=visa)
def test_visa_conforms(check: Check) -> None:
    check()


@conformance("btad", kind="dataset", write_images=btad)
def test_btad_conforms(check: Check) -> None:
    check()


@conformance("mpdd", kind="dataset", write_images=mpdd)
def test_mpdd_conforms(check: Check) -> None:
    check()


@conformance("kolektor_sdd", kind="dataset", write_images=kolektor_sdd)
def test_kolektor_sdd_conforms(check: Check) -> None:
    check()


@conformance("kolektor_sdd2", kind="dataset", write_images=kolektor_sdd2)
def test_kolektor_sdd2_conforms(check: Check) -> None:
    check()


@conformance("dagm", kind="dataset", write_images=dagm)
def test_dagm_conforms(check: Check) -> None:
    check()


@conformance("real_iad", kind="dataset", write_images=real_iad)
def test_real_iad_conforms(check: Check) -> None:
    check()


@conformance("magnetic_tile", kind="dataset", write_images=magnetic_tile)
def test_magnetic_tile_conforms(check: Check) -> None:
    check()
