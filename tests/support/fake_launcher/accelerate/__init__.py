"""Stands in for accelerate where a test is about processes: no torch, ready in a moment."""
