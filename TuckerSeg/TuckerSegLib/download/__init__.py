"""Files of the web, fetched so that nothing is lost: resumed after a cut, checked, never half in their place.

HTTPS only, and plain HTTP from this computer itself. The standard library's client does it: unlike ``requests`` it
takes the system's certificates too, and each redirection can be looked at before it is followed. Knows nothing of
models.
"""

from .connections import check_address
from .fetching import Fetched, Patience, WrongChecksum, check_space, fetch, sha256_of

__all__ = ["Fetched", "Patience", "WrongChecksum", "check_address", "check_space", "fetch", "sha256_of"]
