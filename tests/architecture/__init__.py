"""What holds the house together: import contracts, module manners, packaging."""
