"""The keeper: parent of native tasks and of the gateway, owner of their output and of the listening sockets.

It is run as a process of its own, `python -I -S <this folder>`, stdlib only, one thread. Outsiders may import
two of its modules: `wire` (packets and descriptors on its socket) and `segments` (the format of stored output).
"""
