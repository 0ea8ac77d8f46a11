"""The four APIs emulated, one module each."""
