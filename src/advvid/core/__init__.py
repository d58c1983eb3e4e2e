"""What everything else stands on: hashing and identity of results."""
