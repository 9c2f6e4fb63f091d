"""Which kind of task a config describes: decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.tasks.base import Task

__all__ = ["make"]


def make(config: Mapping[str, Any]) -> Task:
    """The task of a resolved config. Opens no data yet."""
    if "image" in config:
        from trainers.tasks.imaging import ImageTask

        return ImageTask(config)
    from trainers.tasks.planar import PlanarTask

    return PlanarTask(config)
