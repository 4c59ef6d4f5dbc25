"""The gateway: the process that carries end-user traffic.

One thread, one uvloop loop, asyncio Protocols on raw bytes. It routes by Host, holds requests for sleeping
deployments, and alone decides whether a task may receive requests. Started by the keeper as
`python -m platformd.gateway`; outsiders use `protocol` (its messages to and from serve) and nothing else.
"""
