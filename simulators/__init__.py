"""Simulated plant: lines with ground truth, protocol servers, replay of recordings and the demo launcher."""
