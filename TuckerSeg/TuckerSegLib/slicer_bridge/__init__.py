"""The border to Slicer: the only part that imports slicer, vtk, qt and ctk, and that never imports torch."""
