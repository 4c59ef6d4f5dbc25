"""Uploaded executables, stored once per content; trees that were sent for builds."""

from platformd.artifacts.executables import Executables
from platformd.artifacts.files import ArtifactFiles, Measure, Upload
from platformd.artifacts.trees import SentTrees

__all__ = ["ArtifactFiles", "Executables", "Measure", "SentTrees", "Upload"]
