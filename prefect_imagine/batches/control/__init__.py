"""Commands to whoever runs a batch, and what they add up to."""
