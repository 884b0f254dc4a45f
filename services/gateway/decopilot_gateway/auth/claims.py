"""The claims map: which claims of a token name the user, the orgs, and the role in each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from decopilot.contracts.commands import Role
from decopilot.contracts.ids import Org, OrgId, User, UserId
from decopilot.domain.access import AUTOMATION

_USER: TypeAdapter[UserId] = TypeAdapter(User)
_ORG: TypeAdapter[OrgId] = TypeAdapter(Org)
_OUR_ROLES: dict[str, Role] = {"owner": "owner", "member": "member", "viewer": "viewer", "service": "service"}
_RANKS: tuple[Role, ...] = ("viewer", "member", "service", "owner")


class UnknownRoleError(ValueError):
    """A token names a role that means nothing here, or none where it must."""


@dataclass(frozen=True, slots=True)
class ClaimsMap:
    """Dotted paths of claims, and what the issuer's names of roles mean; without a map they are ours."""

    user: str = "sub"
    orgs: str = "orgs"
    role: str = ""
    default_role: Role | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)

    def user_in(self, claims: Mapping[str, Any]) -> UserId:
        """Tell who the user is.

        Raises:
            ValueError: the claim is not there, or is no user.

        """
        user = _USER.validate_python(_found(claims, self.user), strict=True)
        if user.startswith(AUTOMATION):
            msg = "that is the name of an automation"
            raise ValueError(msg)
        return user

    def orgs_in(self, claims: Mapping[str, Any]) -> dict[OrgId, Role]:
        """Tell the user's role in each org.

        Raises:
            ValueError: the claim is not there, or names what is no org.
            UnknownRoleError: a role is not known.

        """
        said = _found(claims, self.orgs)
        if isinstance(said, dict):
            return {_ORG.validate_python(org, strict=True): self._role(named) for org, named in said.items()}
        orgs = [_ORG.validate_python(org, strict=True) for org in (said if isinstance(said, list) else [said])]
        named = _found(claims, self.role) if self.role else None
        return dict.fromkeys(orgs, self._role(named)) if orgs else {}

    def _role(self, named: object) -> Role:
        names = named if isinstance(named, list) else [named]
        meanings = self.roles or _OUR_ROLES
        # Of a list of roles those count that mean something here: issuers add others of their own.
        found = [meanings[name] for name in names if isinstance(name, str) and name in meanings]
        if found:
            return max(found, key=_RANKS.index)
        if named in (None, []) and self.default_role is not None:
            return self.default_role
        msg = "no role in it is known"
        raise UnknownRoleError(msg)


def _found(claims: object, path: str) -> object:
    """Follow a path; a name may have dots itself, as those that are URLs do, and the longest one counts."""
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    at = path.rfind(".")
    while at > 0:
        if path[:at] in claims:
            return _found(claims[path[:at]], path[at + 1 :])
        at = path.rfind(".", 0, at)
    return None
