"""What a run is going to do, found out before anything is spent."""
