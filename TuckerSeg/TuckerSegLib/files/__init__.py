"""Files on the disk: written whole or not at all, under names that every system takes."""
