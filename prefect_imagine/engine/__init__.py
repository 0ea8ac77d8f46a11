"""Runs a batch: creates, polls, stores and reconciles."""
