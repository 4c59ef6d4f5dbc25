"""The service's ends of the sockets of its two other processes: `links.keeper` and `links.gateway`."""
