"""What is measured: each module makes one table."""
