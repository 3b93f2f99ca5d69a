"""Pictures of arrays: photographs made small, maps as colours, masks as outlines. Nothing here knows of verdicts."""
