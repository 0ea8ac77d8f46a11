"""Sends requests, and reads what the answers mean."""
