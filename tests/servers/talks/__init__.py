"""What the clients of `talk.py` speak."""
