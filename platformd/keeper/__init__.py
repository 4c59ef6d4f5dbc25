"""The keeper: parent of native tasks and of the gateway, owner of output and listening sockets."""
