"""The four APIs as async clients behind one protocol, and the pacing of their keys."""
