"""Uploaded executables, stored once per content."""

from platformd.artifacts.executables import Executables
from platformd.artifacts.files import ArtifactFiles, Measure, Upload

__all__ = ["ArtifactFiles", "Executables", "Measure", "Upload"]
