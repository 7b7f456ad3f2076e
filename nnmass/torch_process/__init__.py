"""Work that needs torch, done in a process of its own: files of architectures, and the calibration of a device."""
