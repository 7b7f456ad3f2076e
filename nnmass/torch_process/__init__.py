"""Work that needs torch, done in a separate process: files of architectures, and the calibration of a device."""
