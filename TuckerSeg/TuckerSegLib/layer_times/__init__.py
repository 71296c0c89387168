"""What a layer takes on this computer: a few seconds of measurements, once per device, precision and threads."""
