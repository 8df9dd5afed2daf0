"""Versions on disk and the embedded server. No TensorFlow needed."""
