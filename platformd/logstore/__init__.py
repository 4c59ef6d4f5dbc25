"""Task output as readers see it; the keeper is its only writer."""
