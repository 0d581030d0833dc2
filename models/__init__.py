"""Online models in numpy and numba: no I/O, no clock, no logging."""
