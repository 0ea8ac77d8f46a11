"""What the providers' histories show, and what that proves: pure."""
