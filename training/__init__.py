"""Train, evaluate, compare and export the CNNs. Needs the `training` extra."""
