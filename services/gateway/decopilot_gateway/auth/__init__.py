"""Who asks: tokens and what they claim, the cookie, and what is signed here."""

from decopilot_gateway.auth.caller import Caller, Claims, id_in_path, thread_in_path
from decopilot_gateway.auth.doorman import Doorman

__all__ = ["Caller", "Claims", "Doorman", "id_in_path", "thread_in_path"]
