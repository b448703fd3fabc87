"""Calls of a cluster's own programs for a run: rehearse, submit, cancel, requeue."""
