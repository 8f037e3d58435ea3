"""The embedded control plane: find, start and stop it, and the process that supervises its parts."""
