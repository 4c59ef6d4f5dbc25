"""`platformd bench`: each measurement starts a server of its own and measures floors beside it, in the same run."""
