"""An image and a task to labels and statistics: networks on their device, one volume at a time."""
