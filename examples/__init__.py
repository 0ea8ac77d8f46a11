"""Example prompts, which `prefect-imagine demo` runs."""
