"""What people want of a run while it lasts, and of those that follow it."""
