"""Samples: read, cached, labelled by name, put on the device, augmented."""
