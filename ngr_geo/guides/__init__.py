"""Classical estimates, of stacks and of spectral cubes: what they predict, a network refines."""
