"""Classical estimates of a stack. What they predict, the network refines."""
