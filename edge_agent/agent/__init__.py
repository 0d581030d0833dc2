"""The running edge."""
