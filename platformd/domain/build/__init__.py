"""From source to artifact or image: the snapshot of one build here, its machine in `transitions`."""

from platformd.domain.build.state import Build, BuildState, Origin, Phase

__all__ = ["Build", "BuildState", "Origin", "Phase"]
