"""The gateway: end users' traffic, held for what sleeps and passed to what runs."""
