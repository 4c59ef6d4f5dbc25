"""What an app shows to the registry of an image, in the clear. Called by the Docker driver's owner before a pull; any
thread.
"""

from __future__ import annotations

from actors.world import World
from platformd.domain.registries import registry_of, sealed_for


def credentials(world: World, app_id: str, image: str) -> tuple[str, str] | None:
    """(username, password) for the registry of `image`, None where the app has none; `SecretUnreadable` when the key
    does not fit."""
    host = registry_of(image)
    row = world.store.reader.row(
        "SELECT username, password FROM registries WHERE app_id = ? AND host = ?", app_id, host
    )
    if row is None:
        return None
    username, password = row
    return username, world.vault.unseal(password, context=sealed_for(app_id, host))
