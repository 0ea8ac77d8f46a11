"""Accounts, books, faults and time of the sandbox."""
