"""Spectra: treatment, calibration, transfer and the soft sensor."""
