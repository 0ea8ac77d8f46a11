"""`webhooks`: what a provider is told to send, and to where."""
