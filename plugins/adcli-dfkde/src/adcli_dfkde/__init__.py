"""DFKDE for adcli."""

from adcli import BackboneOptions, Layers, ModelSpec, hookimpl, option


class DfkdeOptions(BackboneOptions):
    """Options of DFKDE."""

    backbone: str = option("timm:resnet50.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a plugin's name.")
    layers: Layers = option((4,), "Feature maps to average over the image and join, counted from 1.", ge=1)
    components: int = option(16, "Principal components that the density is estimated in.", ge=1)
    bandwidth: float = option(1.0, "Factor of the kernel's width by Scott's rule.", gt=0)
    limit: int = option(40000, "Kernels at most: of more good images a random choice is kept.", ge=2)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="dfkde",
            target="adcli_dfkde.model:Dfkde",
            options=DfkdeOptions,
            summary="Kernel density of good images' pooled features; the score is minus its logarithm",
            task="classification",
            paper="no paper; the estimator: Scott, Multivariate Density Estimation, 1992",
            one_pass=True,
            updatable="kept",
            quick={"backbone": "random:resnet18", "components": 4, "layers": (1, 2, 3)},
            # What small defects change lies in components of small variance; the demo fits 80 images.
            demo={"components": 72},
        )
    ]
