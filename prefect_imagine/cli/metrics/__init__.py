"""`metrics`: figures for Prometheus."""
