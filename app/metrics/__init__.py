"""Metrics for Prometheus: those of one replica, and those of the whole installation."""
