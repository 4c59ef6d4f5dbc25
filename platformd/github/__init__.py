"""GitHub as platformd meets it: what its webhooks say, who signed them, and its REST API's commit statuses."""

from platformd.github.payloads import read_delivery, repository_of, unwrapped
from platformd.github.signature import signed_by

__all__ = ["read_delivery", "repository_of", "signed_by", "unwrapped"]
