"""The actors: each deployment and each task owns its lifecycle; directory, timers and supervision around them."""
