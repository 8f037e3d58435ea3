"""An API replica: the wire, the procedures, the log at work and the control loops."""
