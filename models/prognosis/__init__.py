"""Machines that say when they will fail: remaining life from fleets that ran to failure, vibration of rotating machines, advice from both."""
