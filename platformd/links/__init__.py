"""The service's ends of sockets: `links.keeper`, `links.gateway`, and `links.engine` of a Docker engine."""
