"""What runs tasks: one contract, and a driver for each kind of thing that can run them."""
