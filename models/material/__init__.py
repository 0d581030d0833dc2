"""Continuous manufacturing: how long material stays in a unit, and where a disturbance of the feed is now."""
