"""Preflight: findings over a task and the facts of host, data and model."""
