"""What runs under one root tell each other of the keys that they share."""
