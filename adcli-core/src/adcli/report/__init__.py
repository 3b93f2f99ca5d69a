"""What a run says, for people: pictures, regions, and the page that holds all of it."""

from adcli.report.overlays import PANEL, Region, overlay, regions

__all__ = ["PANEL", "Region", "overlay", "regions"]
