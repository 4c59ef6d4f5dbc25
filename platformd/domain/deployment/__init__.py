"""A deployment as a state machine: states, transitions and the plans they call on."""
